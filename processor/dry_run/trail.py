"""The archived decisions of one partition, oldest first, as far as a dry run asks for them.

Reads segments.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from permits.calendar import DAY_MS
from permits.messages import AUDIT_DECODER, CANCELLATIONS_DECODER, SETTLED_DECODER, AuditSettled
from permits.outcomes import NAME_OF
from processor.archive import segments
from processor.dry_run.judge import BEARING_DAYS
from processor.verification.trail import AuditEntry

_BEARING_MS: Final = BEARING_DAYS * DAY_MS


class UnusableTrailError(ValueError):
    """The archive cannot be read as it stands; the message names the place."""


class Period(msgspec.Struct, frozen=True):
    """Which decisions are judged anew: those stored in it, by the store's clock."""

    since_ms: int = 0
    until_ms: int | None = None


class Decided(msgspec.Struct, frozen=True):
    """One batch."""

    at_ms: int
    """When it was stored."""
    entry: AuditEntry
    is_asked_for: bool
    """Otherwise it is only the past of those that are."""


def begins_ms(folders: Sequence[Path], tag: str) -> int:
    """From when on every decision that bears on a partition's next one is archived; 0: since ever."""
    first = segments.segments(folders, tag, "audit")[0]
    member = next(segments.members(first.path.read_bytes()), None)
    chained = None if member is None else segments.link(member)
    is_whole = chained is not None and chained.number == 1
    return 0 if is_whole else first.first[0] + _BEARING_MS


def decided(folders: Sequence[Path], tag: str, period: Period) -> Iterator[Decided | AuditSettled]:
    """The batches of a period, those before it that bear on them, and what became between them of approvals that were
    held; UnusableTrailError names what cannot be read."""
    try:
        for name, fields in segments.read(folders, tag, "audit"):
            at_ms = segments.entry_id(name)[0]
            if period.until_ms is not None and at_ms >= period.until_ms:
                return
            if at_ms >= period.since_ms - _BEARING_MS:
                where = f"partition {tag}, entry {name}"
                if "r" in fields:
                    yield _settled(where, fields["r"])
                else:
                    yield Decided(at_ms, _entry(where, fields), at_ms >= period.since_ms)
    except segments.DamagedSegmentError as error:
        raise UnusableTrailError(str(error)) from None


def _settled(where: str, raw: bytes) -> AuditSettled:
    try:
        return SETTLED_DECODER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnusableTrailError(f"{where}: {error}") from None


def _entry(where: str, fields: dict[str, bytes]) -> AuditEntry:
    try:
        letters, marks = fields["v"].decode("ascii"), fields.get("w", b"").decode("ascii")
        cancellations = CANCELLATIONS_DECODER.decode(fields.get("c", b"[]"))
        entry = AuditEntry(AUDIT_DECODER.decode(fields["m"]), letters, marks, cancellations)
    except KeyError as error:
        raise UnusableTrailError(f"{where}: no field {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnusableTrailError(f"{where}: {error}") from None
    if (flaw := entry.flaw) is not None:
        raise UnusableTrailError(f"{where}: {flaw}")
    if unknown := sorted(set(letters) - NAME_OF.keys()):
        raise UnusableTrailError(f"{where}: outcomes that this release does not know: {', '.join(unknown)}")
    return entry
