"""The typed Python face of `requeue.lua`: the end of a dead letter. Each command replies 1, or 0 where it was over."""

import msgspec

from lua import library
from lua.calls import Command
from lua.keys import PartitionKeys


class Return(msgspec.Struct, frozen=True):
    """What goes back, and where."""

    key: str
    payload: bytes
    """Field `m` of a stream's entry, or a member of the held approvals."""
    due_ms: int | None = None
    """Of a held approval alone."""


def requeue_command(keys: PartitionKeys, *, entry_id: str, act: bytes, back: Return) -> Command:
    """Put a letter back where it belongs, once."""
    due = [] if back.due_ms is None else [back.due_ms]
    return ["FCALL", library.REQUEUE, 3, keys.dead, keys.acts, back.key, entry_id, act, back.payload, *due]


def drop_command(keys: PartitionKeys, *, entry_id: str, act: bytes) -> Command:
    """Take a letter away for good, once."""
    return ["FCALL", library.DROP, 2, keys.dead, keys.acts, entry_id, act]
