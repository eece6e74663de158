"""The audit trail of one partition, in the order of decision, as every check consumes it.

Reads `audit:{p}`, a page at a time.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import repeat
from typing import Final

import msgspec

from lua.store import Store
from permits.decision import DEDUP_DAYS
from permits.messages import (
    AUDIT_DECODER,
    CANCELLATIONS_DECODER,
    SETTLED_DECODER,
    AuditBatch,
    AuditRow,
    AuditSettled,
    Cancellation,
)
from permits.outcomes import ABOUT_CANCELLING, APPROVED, CANCELLATIONS, REASON_OF
from processor.verification.inputs import UnusableInputError

DECIDED: Final = frozenset((APPROVED, *REASON_OF, *CANCELLATIONS))
"""Letters that are decisions."""
PAGE: Final = 200
"""Entries read at once; at 512 rows each a page is some 15 MB."""
_SETTLING_DAYS: Final = DEDUP_DAYS + 2
"""After so many days nothing older bears on a decision: repeats look back two days, quota days lie within two."""


class Partition(msgspec.Struct, frozen=True):
    """Whose trail it is, and how far back it goes."""

    number: int
    tag: str
    known_from_ms: int = 0
    """Everything decided since then stands in the trail; 0: everything ever."""

    @property
    def settled_from_ms(self) -> int:
        """From then on every earlier decision that bears on a new one stands in the trail too."""
        return self.known_from_ms and self.known_from_ms + _SETTLING_DAYS * 86_400_000


class AuditEntry(msgspec.Struct, frozen=True):
    """What one call of `decide` left behind: rows, and a letter for each."""

    batch: AuditBatch
    letters: str
    silent: str = ""
    """`1` for each refusal that went unanswered; empty where all were answered."""
    cancellations: Sequence[Cancellation] = ()
    """One for each row with a letter of ABOUT_CANCELLING, in order."""

    @property
    def rows(self) -> Iterator[tuple[AuditRow, str, bool]]:
        """Each row with its letter, and whether it went unanswered."""
        silent = (mark == "1" for mark in self.silent) if self.silent else repeat(False)
        return zip(self.batch.rows, self.letters, silent, strict=False)

    @property
    def flaw(self) -> str | None:
        """How its fields contradict each other."""
        rows, letters, marks = len(self.batch.rows), len(self.letters), len(self.silent)
        if rows != letters or marks not in (0, rows):
            return f"{rows} rows, {letters} letters, {marks} marks"
        cancelling = [at for at, letter in enumerate(self.letters) if letter in ABOUT_CANCELLING]
        if cancelling != [told.row for told in self.cancellations]:
            return f"{len(cancelling)} rows with the cancel word, {len(self.cancellations)} told of"
        return None


TrailEntry = AuditEntry | AuditSettled


async def pages(store: Store, stream: str) -> AsyncIterator[list[TrailEntry]]:
    """A partition's audit entries, oldest first; UnusableInputError names an entry that cannot be read."""
    start = "-"
    while True:
        page: list[tuple[bytes, dict[bytes, bytes]]] = await store.execute_command(
            "XRANGE", stream, start, "+", "COUNT", PAGE
        )
        if page:
            yield [_entry(stream, entry_id, fields) for entry_id, fields in page]
        if len(page) < PAGE:
            return
        start = f"({page[-1][0].decode()}"


def _entry(stream: str, entry_id: bytes, fields: dict[bytes, bytes]) -> TrailEntry:
    try:
        if b"r" in fields:
            return SETTLED_DECODER.decode(fields[b"r"])
        entry = AuditEntry(
            AUDIT_DECODER.decode(fields[b"m"]),
            fields[b"v"].decode("ascii"),
            fields.get(b"w", b"").decode("ascii"),
            CANCELLATIONS_DECODER.decode(fields.get(b"c", b"[]")),
        )
    except KeyError as error:
        raise UnusableInputError(f"{stream}, entry {entry_id.decode()}: no field {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnusableInputError(f"{stream}, entry {entry_id.decode()}: {error}") from None
    if (flaw := entry.flaw) is not None:
        raise UnusableInputError(f"{stream}, entry {entry_id.decode()}: {flaw}")
    return entry
