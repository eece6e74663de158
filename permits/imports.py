"""What travels when an organisation applies for many employees at once: from the rows of its sheet to a report.

The api stores an import as sealed chunks of rows, with an `ImportEntry` on `imports:{p}`; a worker turns each chunk
into as many report lines. Whatever is done twice on the way comes to the same.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from permits.applications import Row
from permits.employees import Actor, Flaw

MOST_ROWS: Final = 100_000
CHUNK_ROWS: Final = 500
"""Rows that are stored, done and reported together."""
KEPT_S: Final = 7 * 86_400
"""How long an import and its report stay after the last step."""

LineResult = Literal["created", "unchanged", "reactivated", "conflict", "refused", "failed"]
"""`refused` is for the organisation to mend, `failed` a fault of ours."""
Tally = dict[LineResult, int]
"""How many lines of a chunk came to each result."""

_FIELDS: Final = {field.name: field for field in msgspec.structs.fields(Row)}
_LENGTH: Final = re.compile(r"of length (<=|>=) (\d+)$")


class WrittenRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """One row as written, where its form allows that; else what is wrong with its form."""

    row: Row | None = None
    flaws: tuple[Flaw, ...] = ()


class Chunk(msgspec.Struct, frozen=True):
    """Some rows of an import as they rest, in the field `chunk:<k>`."""

    lines: tuple[int, ...]
    """Where each row stands in the sheet, counted from 1 as people count them."""
    rows: str
    """Sealed JSON of as many `WrittenRow`s, bound to the import."""


class ImportHead(msgspec.Struct, frozen=True):
    """What a worker needs to know beside the rows, in the field `head`."""

    tin: str
    employer: str
    rows: int
    chunks: int
    actor: Actor
    requested_ms: int
    """Milliseconds since 1970. Rows are judged as of this moment: the same however often."""
    epochs: int
    """How many were known at that moment: they are folded into the permits, and later ones are not undone."""


class ImportEntry(msgspec.Struct, frozen=True):
    """An import that is not done yet, on `imports:{p}`."""

    id: str


class ReportLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one row. Never any of its words."""

    line: int
    result: LineResult
    permit: str | None = None
    """Its code; with `conflict` the one that is in the way."""
    errors: tuple[Flaw, ...] = ()


def import_id(tin: str, key: str) -> str:
    """The id of an import, 32 hex digits: a request repeated under its idempotency key is the same import."""
    return hashlib.blake2b(f"{tin}\0{key}".encode(), digest_size=16, person=b"import").hexdigest()


def row_digest(name: str, line: int) -> str:
    """The digest of one row's request: an import that is done again finds what it made."""
    return hashlib.blake2b(f"{name}\0{line}".encode(), digest_size=16, person=b"import row").hexdigest()


def read_cells(cells: Mapping[str, Any]) -> WrittenRow:
    """A row of its cells by column, or all that is wrong with its form."""
    try:
        return WrittenRow(msgspec.convert(cells, Row))
    except msgspec.ValidationError:
        found: list[Flaw] = []
        for name, field in _FIELDS.items():
            if name not in cells:
                found += [Flaw(name, "is missing")] if field.required else []
                continue
            try:
                msgspec.convert(cells[name], field.type)
            except msgspec.ValidationError as error:
                found.append(Flaw(name, _said(str(error))))
        if not cells.keys() <= _FIELDS.keys():
            found.append(Flaw("row", "has an unknown field"))
        return WrittenRow(flaws=tuple(found))


def _said(words: str) -> str:
    """What a type wants, for people who fill in sheets."""
    length = _LENGTH.search(words)
    if length is not None:
        bound = "most" if length[1] == "<=" else "least"
        return f"must have at {bound} {length[2]} character{'s' if length[2] != '1' else ''}"
    if "matching regex" in words:  # the phone alone has one
        return "must be + and 7 to 15 digits, as in +994501234567"
    return "must be true or false" if "`bool`" in words else "must be text, also where it looks like a number"
