"""What the spools of all ingest processes still hold, as they tell it while they replay; the monitor adds it up.

Reads and writes the hash `spools:{p}` of the first partition: a field a process, gone 30 s after the last word.
"""

import socket
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from lua.calls import Command
from runtime.figures import Queue

EVERY_S: Final = 1.0
STALE_MS: Final = 10_000
"""What a process said so long ago it says no more: it died, and another replays its spool."""
KEPT_S: Final = 30


class Left(msgspec.Struct, frozen=True):
    """What one process holds."""

    entries: int
    oldest_ms: int
    at_ms: int


def owner(slot: str) -> str:
    """The field of a process: its machine and its slot, so that a later process of that slot takes it over."""
    return f"{socket.gethostname()}/{slot}"


def tell_commands(key: str, owner: str, left: Left) -> list[Command]:
    """Say what is left; a field with nothing goes."""
    if not left.entries:
        return [["HDEL", key, owner]]
    return [["HSET", key, owner, msgspec.json.encode(left)], ["EXPIRE", key, KEPT_S]]


def together(flat: Sequence[Any], *, now_ms: int) -> Queue:
    """What all processes hold, from the hash as it was read; what cannot be read is nobody's."""
    entries, oldest_ms = 0, now_ms
    for value in flat[1::2]:
        try:
            left = msgspec.json.decode(value, type=Left)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if now_ms - left.at_ms <= STALE_MS:
            entries += left.entries
            oldest_ms = min(oldest_ms, left.oldest_ms)
    return Queue(entries, (now_ms - oldest_ms) / 1000)
