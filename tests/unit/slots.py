"""Slots of the spool as processes open, fill and leave them: for the tests of their life, of damage and of the disk."""

from pathlib import Path
from typing import Final

from ingest.spool_records import Entry
from ingest.spool_slot import Slot, take_free

ENTRIES: Final[list[Entry]] = [("inbound:{00}", b'{"id":"%d"}' % n) for n in range(5)]
ROOM: Final = 64 << 20
AT_MS: Final = 1_767_254_400_000


def opened(folder: Path) -> Slot:
    return take_free(folder, most_bytes=ROOM)


def drained(slot: Slot, most: int = 1000) -> list[Entry]:
    """All that is left, as a replay takes it."""
    found: list[Entry] = []
    while batch := slot.read(most):
        found += batch
        slot.done()
    return found


def left(folder: Path) -> list[Entry]:
    """What a process that starts now would replay."""
    slot = opened(folder)
    try:
        return drained(slot)
    finally:
        slot.close()


def spooled(folder: Path, *groups: list[Entry]) -> Path:
    """The only segment of a process that wrote these groups and died."""
    slot = opened(folder)
    for group in groups:
        slot.append(group, at_ms=AT_MS)
    slot.close()
    (segment,) = (folder / "0").glob("*.segment")
    return segment
