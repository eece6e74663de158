"""Planned looks at a store: what each partition answers, without a store."""

from collections.abc import Sequence
from typing import Any

from lua.calls import Command
from runtime.connection import Wire


class Planned(Wire):
    """A wire that answers what the test has planned, look after look."""

    def __init__(self, *looks: Sequence[Any]) -> None:
        super().__init__("unix:///nowhere")
        self._looks = list(looks)

    async def call(self, *commands: Command | Sequence[Any], timeout_s: float = 5.0, replicas: int = 0) -> list[Any]:
        """The next planned answers."""
        planned = list(self._looks.pop(0))
        assert len(commands) == len(planned)
        return planned


def head(at_s: float | None) -> list[Any]:
    """What stands first in a stream: an entry of that moment, or nothing."""
    return [] if at_s is None else [[b"%d-0" % int(at_s * 1000), [b"m", b"{}"]]]


def group(*, pending: int, lag: int | None) -> list[Any]:
    """One reader of a stream, as XINFO GROUPS tells it."""
    return [b"name", b"reader", b"consumers", 1, b"pending", pending, b"entries-read", 9, b"lag", lag]


def partition(
    counts: dict[str, int | str] | None = None,
    *,
    dead: int = 0,
    undecided: int = 0,
    unsent: int = 0,
    readers: Any = (),
    applications: int = 0,
    outbox: int = 0,
    held: int = 0,
    due_s: float | None = None,
    heads_s: tuple[float | None, ...] = (None, None, None, None),
) -> list[Any]:
    """What one partition answers; `heads_s` are of its replies, inbound SMS, applications and outbox, `due_s` is when
    the first of `held` approvals is due."""
    flat = [str(part).encode() for row in (counts or {}).items() for part in row]
    first = [] if due_s is None else [b"member", b"%d" % int(due_s * 1000)]
    return [flat, dead, unsent, readers, undecided, applications, outbox, held, first, *map(head, heads_s)]
