"""What an organisation writes about one employee, one by one or in bulk, read into a `Request` or into its flaws."""

from collections.abc import Callable
from datetime import date, datetime
from typing import Annotated, Final

import msgspec

from permits.calendar import BAKU, DAY_MS
from permits.documents import canonical as canonical_document
from permits.employees import Employee, Flaw, Request, flaws
from permits.fin import canonical as canonical_fin

PLACE_LETTERS: Final = 80
_PHONE: Final = r"^\+[0-9]{7,15}$"


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One employee as written. Times are RFC 3339, or dates in Baku: from its beginning, until its end."""

    fin: Annotated[str, msgspec.Meta(max_length=16, examples=["5ABC12D"])]
    document: Annotated[str, msgspec.Meta(max_length=40, examples=["AZE1111111"])]
    name: Annotated[str, msgspec.Meta(min_length=2, max_length=120)]
    valid_from: Annotated[str, msgspec.Meta(max_length=35, examples=["2026-12-01"])]
    valid_until: Annotated[str, msgspec.Meta(max_length=35, examples=["2026-12-31T18:00:00+04:00"])]
    phone: Annotated[str, msgspec.Meta(pattern=_PHONE)] | None = None
    zone: Annotated[str, msgspec.Meta(min_length=1, max_length=PLACE_LETTERS)] | None = None
    activity: Annotated[str, msgspec.Meta(min_length=1, max_length=PLACE_LETTERS)] | None = None
    draft: bool = False
    """To be submitted later."""


def read_row(row: Row, *, accepts: Callable[[str], bool], now_ms: int, digest: str = "") -> Request | list[Flaw]:
    """The request of a row, or all that is wrong with it; `accepts` says whether a canonical document counts."""
    found: list[Flaw] = []
    fin = canonical_fin(row.fin)
    if fin is None:
        found.append(Flaw("fin", "a FIN has seven letters and digits, without I and O"))
    document = canonical_document(row.document)
    if document is None or not accepts(document):
        found.append(Flaw("document", "not a document number that counts"))
    if not any(letter.isalpha() for letter in row.name):
        found.append(Flaw("name", "has no letter"))
    for field, text in (("name", row.name), ("zone", row.zone), ("activity", row.activity), ("phone", row.phone)):
        if text is not None and not text.isprintable():
            found.append(Flaw(field, "has a character that cannot be printed"))
    times = [
        moment_ms(text, ends=field == "valid_until")
        for field, text in (("valid_from", row.valid_from), ("valid_until", row.valid_until))
    ]
    for field, at_ms in zip(("valid_from", "valid_until"), times, strict=True):
        if at_ms is None:
            found.append(
                Flaw(field, "neither a date (2026-12-31) nor a time with its zone (2026-12-31T18:00:00+04:00)")
            )
    from_ms, until_ms = times
    if fin is None or document is None or from_ms is None or until_ms is None or found:
        return found
    request = Request(
        employee=Employee(fin=fin, document=document, name=" ".join(row.name.split()), phone=row.phone),
        from_ms=from_ms,
        until_ms=until_ms,
        zone=row.zone,
        activity=row.activity,
        draft=row.draft,
        digest=digest,
    )
    return flaws(from_ms, until_ms, now_ms=now_ms) or request


def moment_ms(text: str, *, ends: bool = False) -> int | None:
    """An instant as written, or None where it is none; a date is its beginning in Baku, or with `ends` its end."""
    try:
        if len(text) == len("2026-12-31"):
            day = date.fromisoformat(text)
            at = datetime(day.year, day.month, day.day, tzinfo=BAKU)
            return int(at.timestamp() * 1000) + (DAY_MS if ends else 0)
        at = datetime.fromisoformat(text)
        return None if at.tzinfo is None else int(at.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
