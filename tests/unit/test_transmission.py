"""Reading on in an outbox while events of it are settled: none may be jumped over."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from dispatch.ministry.off import NoMinistry
from dispatch.ministry.port import FeedEvent
from dispatch.outbox.entries import Entry
from dispatch.outbox.settlement import Settlement
from dispatch.outbox.transmission import BACKOFF_S, Transmission, backoff_s
from lua.calls import Command
from lua.keys import partition_keys, tags
from permits.messages import ENCODER, OutboxEvent
from runtime.connection import Wire
from runtime.leases import Lease
from runtime.shared import SharedWire

LEASE = Lease(0, partition_keys(tags(1)[0]), "1", float("inf"))


class Stream(SharedWire):
    """An outbox in memory; while a slow look is on its way back, other tasks go on."""

    def __init__(self, owners: str) -> None:
        super().__init__(Wire("unix:///nowhere"))
        self.entries = dict(enumerate(owners, 1))
        self.is_slow = False

    async def ask(self, commands: Sequence[Command], replicas: int = 0) -> list[Any]:
        pages = [self._page(int(str(start).rpartition("-")[2].rstrip("'"))) for _, _, start, *_ in commands]
        for _ in range(20 if self.is_slow else 0):
            await asyncio.sleep(0)
        return pages

    def _page(self, after: int) -> list[Any]:
        return [(b"0-%d" % n, [b"m", _event(n, owner)]) for n, owner in self.entries.items() if n > after]


def _event(number: int, owner: str) -> bytes:
    event = OutboxEvent(
        number=number,
        deed="confirm",
        code="",
        version=2,
        at_ms=0,
        tin="",
        employer="",
        status="confirmed",
        owner=owner,
        person="",
        person_partition=0,
        from_ms=0,
        until_ms=0,
        epoch=0,
        employee="",
    )
    return ENCODER.encode(event)


class Settled(Settlement):
    """Takes events out of the stream."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.numbers: list[int] = []

    async def accepted(self, event: FeedEvent, entry: Entry) -> None:
        del self.stream.entries[event.event.number]
        self.numbers.append(event.event.number)


async def test_an_event_that_was_passed_over_is_not_lost_to_a_look_that_was_on_its_way() -> None:
    stream = Stream("aab")
    settled = Settled(stream)
    transmission = Transmission(stream, ministry=NoMinistry(), settlement=settled)
    await transmission.read([LEASE])
    stream.entries[4] = "c"
    transmission.start()  # 1 and 3 are settled while the look for what comes after 3 is on its way
    stream.is_slow = True
    assert await transmission.read([LEASE])
    assert settled.numbers == [1, 3]
    stream.is_slow = False
    await transmission.read([LEASE])
    transmission.start()
    await transmission.finish()
    assert settled.numbers == [1, 3, 2, 4]
    assert not await transmission.read([LEASE])


@pytest.mark.parametrize(("failures", "longest"), [(0, 0.5), (1, 1.0), (5, 16.0), (7, 60.0), (100_000, 60.0)])
def test_the_back_off_doubles_up_to_a_minute(failures: int, longest: float) -> None:
    some = [backoff_s(failures) for _ in range(200)]
    assert longest / 2 <= min(some) < max(some) <= longest <= BACKOFF_S[1]
