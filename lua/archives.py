"""The typed Python face of `archive.lua`: how far the segments of a trail reach."""

from typing import Final, Literal

import msgspec

from lua import library
from lua.keys import PartitionKeys
from lua.store import Store

Trail = Literal["audit", "acts"]
"""The stream of a partition that is archived, each in a chain of its own."""
Moved = Literal["moved", "fenced", "differs"]


class Head(msgspec.Struct, frozen=True):
    """The last member of a trail's chain that is safely on a disk."""

    last: str
    """Id of its last entry."""
    segment: str
    """Name of its file."""
    number: int
    """Its place in the chain, from 1."""
    entries: int
    """Entries in the whole chain."""
    skipped: int
    """Entries that had left the stream before its chain began."""
    hash: str
    """64 hex digits."""


_HEAD: Final = msgspec.json.Decoder(Head)


async def standing(store: Store, keys: PartitionKeys, trail: Trail) -> bytes:
    """The head as it stands, for `archived`; empty where nothing is archived."""
    return await store.execute_command("HGET", keys.archive, trail) or b""


def read(standing: bytes) -> Head | None:
    """A head that stands, read; ValueError where it cannot be."""
    try:
        return _HEAD.decode(standing) if standing else None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"the head of an archive cannot be read: {error}") from None


async def archived(
    store: Store, keys: PartitionKeys, *, epoch: str, trail: Trail, standing: bytes, head: bytes
) -> Moved:
    """Move the head on from the one that stands, where the partition is held under this epoch."""
    answer: bytes = await store.execute_command(
        "FCALL", library.ARCHIVED, 2, keys.fence("decide"), keys.archive, epoch, trail, standing, head
    )
    said = answer.decode()
    if said == "moved" or said == "fenced" or said == "differs":
        return said
    raise ValueError(f"archived answered {said!r}")
