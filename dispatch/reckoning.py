"""The Ministry's feed held against its counters, and against what the Ministry says it has. Pure.

A number was given to each event of a partition, from 1, without gaps; each was taken, refused, or settled while there
was no Ministry (`off`), or waits on the outbox. The system may go on meanwhile: counters are read before and after.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from dispatch.ministry.http import Tally

MOST_EXAMPLES: Final = 10
Range = tuple[int, int]
"""Numbers, both ends included."""


class Counters(msgspec.Struct, frozen=True):
    """`feed:{p}` at one moment."""

    numbered: int = 0
    taken: int = 0
    refused: int = 0
    off: int = 0

    @property
    def settled(self) -> int:
        """Events that are done with."""
        return self.taken + self.refused + self.off


class Feed(msgspec.Struct, frozen=True):
    """One partition's feed as the store has it."""

    partition: int
    before: Counters
    """Read before the outbox was."""
    after: Counters
    """Read after it, and after the Ministry said what it has."""
    waiting: Sequence[Range]
    """Numbers on the outbox, in order."""
    oldest_ms: int | None
    """When the first that waits was made."""


class Account(msgspec.Struct, frozen=True):
    """One partition's line."""

    partition: int
    numbered: int
    taken: int
    refused: int
    off: int
    waiting: int
    oldest_s: int | None
    """Age of the oldest event that waits."""
    disagreements: list[str]


def account(feed: Feed, tally: Tally | None, *, now_ms: int) -> Account:
    """What there is, and what does not agree; `tally` is the Ministry's, None where nobody was asked."""
    numbered = feed.before.numbered
    waiting = _clipped(feed.waiting, numbered)
    count = _size(waiting)
    found: list[str] = []
    if not feed.before.settled <= numbered - count <= feed.after.settled:
        found.append(f"{numbered:,} numbered, but {count:,} waiting and {feed.after.settled:,} settled")
    if tally is not None:
        found += _compared(feed, waiting, tally)
    oldest_s = None if feed.oldest_ms is None else max(0, now_ms - feed.oldest_ms) // 1000
    counters = feed.before
    return Account(feed.partition, numbered, counters.taken, counters.refused, counters.off, count, oldest_s, found)


def _compared(feed: Feed, waiting: Sequence[Range], tally: Tally) -> list[str]:
    """Our settled numbers and the Ministry's."""
    found: list[str] = []
    refused = joined((number, number) for number in tally.refused)
    theirs = joined([*((low, high) for low, high in tally.ranges), *refused])
    settled = without([(1, feed.before.numbered)], waiting)
    missed = without(settled, theirs)
    # What was settled while there was no Ministry was never sent.
    if _size(missed) > feed.after.off:
        found.append(f"the Ministry misses {_size(missed):,} that we settled: {_shown(missed)}")
    unknown = without(theirs, [(1, feed.after.numbered)])
    if unknown:
        found.append(f"the Ministry has {_size(unknown):,} that we never numbered: {_shown(unknown)}")
    both = without(refused, without(refused, joined((low, high) for low, high in tally.ranges)))
    if both:
        found.append(f"the Ministry has {_size(both):,} both as taken and as refused: {_shown(both)}")
    known = _size(without(_clipped(refused, feed.before.numbered), waiting))
    if not feed.before.refused <= known <= feed.after.refused:
        found.append(f"the Ministry has refused {known:,}, we have {feed.after.refused:,} refusals")
    return found


def joined(ranges: Iterable[Range]) -> list[Range]:
    """Ranges in order, those that touch made one."""
    found: list[Range] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        elif low <= high:
            found.append((low, high))
    return found


def without(ranges: Sequence[Range], holes: Sequence[Range]) -> list[Range]:
    """What of some ranges lies in none of the holes; both in order and joined."""
    found: list[Range] = []
    at = 0
    for low, high in ranges:
        start = low
        while at < len(holes) and holes[at][1] < start:
            at += 1
        ahead = at
        while ahead < len(holes) and holes[ahead][0] <= high:
            if start < holes[ahead][0]:
                found.append((start, holes[ahead][0] - 1))
            start = holes[ahead][1] + 1
            ahead += 1
        if start <= high:
            found.append((start, high))
    return found


def _clipped(ranges: Iterable[Range], most: int) -> list[Range]:
    return [(low, min(high, most)) for low, high in ranges if low <= most]


def _size(ranges: Iterable[Range]) -> int:
    return sum(high - low + 1 for low, high in ranges)


def _shown(ranges: Sequence[Range]) -> str:
    shown = [str(low) if low == high else f"{low}-{high}" for low, high in ranges[:MOST_EXAMPLES]]
    return ", ".join(shown) + (", …" if len(ranges) > MOST_EXAMPLES else "")
