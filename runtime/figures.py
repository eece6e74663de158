"""How the system stands, counted in one way for all who show it: what ended today, and what waits since when.

Reads counters, stream lengths and the heads of the streams of every partition.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from redis.exceptions import ResponseError

from lua.calls import Command
from lua.keys import PartitionKeys
from permits.calendar import day_name, local_day
from permits.outcomes import APPROVED, CANCELLATIONS, NAME_OF
from runtime.connection import TIMEOUT_S, Wire

ID_REUSED: Final = b"id_reused"
UNANSWERED: Final = b"unanswered"
"""These two counters are no outcomes."""
AT_ONCE: Final = 16
"""Partitions asked in one round trip: a look at many must hold up neither the store nor who looks."""
GROUPS_AT: Final = 3
"""Where, among a partition's replies, the readers of its answers stand: an error where nobody ever registered."""

_LETTERS: Final = frozenset(letter.encode() for letter in NAME_OF)


class Queue(msgspec.Struct, frozen=True):
    """What waits in a stream."""

    length: int
    oldest_s: float
    """Age of what stands first; 0 where nothing waits."""


class PartitionFigures(msgspec.Struct, frozen=True):
    """What one partition holds."""

    undecided: Queue
    unsent: Queue
    """Replies that some reader has not acknowledged."""
    applications: Queue
    outbox: Queue
    held: Queue
    """Approvals that wait for their time; the age is that by which the first is overdue."""
    dead_letters: int


class Figures(msgspec.Struct, frozen=True):
    """One look at the store."""

    at_ms: int
    outcomes: dict[tuple[int, str], int]
    """Entries ended on the Baku day of the look, by purpose (0: none could be read) and outcome letter."""
    ids_reused: int
    unanswered: int
    """Refusals that no reply told."""
    partitions: list[PartitionFigures]

    @property
    def by_letter(self) -> Counter[str]:
        """Entries ended today, by outcome letter."""
        letters: Counter[str] = Counter()
        for (_, letter), times in self.outcomes.items():
            letters[letter] += times
        return letters

    @property
    def decided(self) -> int:
        """Decisions today: approvals, refusals and cancellations."""
        return sum(times for (_, letter), times in self.outcomes.items() if letter.islower())

    @property
    def approved(self) -> int:
        """Approvals today."""
        return self.by_letter[APPROVED]

    @property
    def cancelled(self) -> int:
        """SMS today by which a permit was cancelled."""
        letters = self.by_letter
        return sum(letters[letter] for letter in CANCELLATIONS)

    @property
    def refused(self) -> int:
        """Refusals today."""
        return self.decided - self.approved - self.cancelled

    @property
    def undecided(self) -> Queue:
        """SMS that wait for their decision."""
        return together(partition.undecided for partition in self.partitions)

    @property
    def held(self) -> Queue:
        """Approvals that wait for their time."""
        return together(partition.held for partition in self.partitions)

    @property
    def unsent(self) -> Queue:
        """Replies that wait for their acknowledgement."""
        return together(partition.unsent for partition in self.partitions)


class Rates(msgspec.Struct, frozen=True):
    """How fast decisions come."""

    decided_per_s: float = 0.0
    approved_per_s: float = 0.0
    refused_per_s: float = 0.0


def together(queues: Iterable[Queue]) -> Queue:
    """Several queues as one."""
    found = list(queues)
    return Queue(
        length=sum(queue.length for queue in found), oldest_s=max((queue.oldest_s for queue in found), default=0.0)
    )


def rates(before: Figures, now: Figures) -> Rates:
    """Decisions a second between two looks; none across midnight, where the counters begin anew."""
    passed_s = (now.at_ms - before.at_ms) / 1000
    if passed_s <= 0 or local_day(before.at_ms) != local_day(now.at_ms):
        return Rates()
    decided = max(0.0, (now.decided - before.decided) / passed_s)
    approved = max(0.0, (now.approved - before.approved) / passed_s)
    refused = max(0.0, (now.refused - before.refused) / passed_s)
    return Rates(decided_per_s=decided, approved_per_s=approved, refused_per_s=refused)


async def look(
    wire: Wire, partitions: Sequence[PartitionKeys], *, now_ms: int, timeout_s: float = TIMEOUT_S
) -> Figures:
    """The figures now; raises one of STORE_ERRORS where a round trip fails, and an error reply too."""
    today = day_name(local_day(now_ms))
    counters: Counter[bytes] = Counter()
    found: list[PartitionFigures] = []
    for start in range(0, len(partitions), AT_ONCE):
        asked = [_commands(keys, today) for keys in partitions[start : start + AT_ONCE]]
        replies = await wire.call(*(command for commands in asked for command in commands), timeout_s=timeout_s)
        for commands in asked:
            part, replies = replies[: len(commands)], replies[len(commands) :]
            for number, reply in enumerate(part):
                if isinstance(reply, ResponseError) and number != GROUPS_AT:
                    raise reply
            _add(counters, part[0])
            found.append(_partition(part, now_ms))
    return Figures(
        at_ms=now_ms,
        outcomes=_outcomes(counters),
        ids_reused=counters[ID_REUSED],
        unanswered=counters[UNANSWERED],
        partitions=found,
    )


def _commands(keys: PartitionKeys, today: str) -> list[Command]:
    return [
        ["HGETALL", keys.counts(today)],
        ["XLEN", keys.dead],
        ["XLEN", keys.replies],
        ["XINFO", "GROUPS", keys.replies],
        ["XLEN", keys.inbound],
        ["XLEN", keys.applications],
        ["XLEN", keys.outbox],
        ["ZCARD", keys.held],
        ["ZRANGE", keys.held, 0, 0, "WITHSCORES"],
        *(
            ["XRANGE", stream, "-", "+", "COUNT", 1]
            for stream in (keys.replies, keys.inbound, keys.applications, keys.outbox)
        ),
    ]


def _partition(replies: list[Any], now_ms: int) -> PartitionFigures:
    """One partition's answers to `_commands`."""
    _, dead, answers, groups, inbound, applications, outbox, held, first_held, *heads = replies
    lengths = (_unsent(answers, groups), inbound, applications, outbox)
    unsent, undecided, applied, outgoing = (
        _queue(length, head, now_ms) for length, head in zip(lengths, heads, strict=True)
    )
    return PartitionFigures(
        undecided=undecided,
        unsent=unsent,
        applications=applied,
        outbox=outgoing,
        held=Queue(held, max(0.0, now_ms - float(first_held[1])) / 1000 if first_held else 0.0),
        dead_letters=dead,
    )


def _queue(length: int, head: list[Any], now_ms: int) -> Queue:
    if not length or not head:
        return Queue(length=length, oldest_s=0.0)
    return Queue(length=length, oldest_s=max(0, now_ms - int(head[0][0].split(b"-")[0])) / 1000)


def _unsent(length: int, groups: list[list[Any]] | ResponseError) -> int:
    """Replies that the reader who lacks most has not acknowledged.

    The length alone is no answer: one reply that waits for its next try keeps all behind it in the stream.
    """
    if isinstance(groups, ResponseError) or not groups:
        return length
    lacking = 0
    for flat in groups:
        group = dict(zip(flat[::2], flat[1::2], strict=True))
        if group[b"lag"] is None:
            return length
        lacking = max(lacking, group[b"pending"] + group[b"lag"])
    return lacking


def _add(counters: Counter[bytes], flat: list[bytes]) -> None:
    """Add one partition's counters; one that is no number is left out: `decide` begins it anew."""
    for field, value in zip(flat[::2], flat[1::2], strict=True):
        if value.isdigit():
            counters[field] += int(value)


def _outcomes(counters: Counter[bytes]) -> dict[tuple[int, str], int]:
    """The counters whose names are an outcome letter and a purpose."""
    return {
        (int(field[1:]), field[:1].decode()): times
        for field, times in counters.items()
        if field[:1] in _LETTERS and field[1:].isdigit()
    }
