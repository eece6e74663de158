"""One partition's lane with its lease in the test's hand: what it reads, what it marks, and when it must not send."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest

from dispatch.outgoing import Outgoing
from dispatch.reply_lane import BUSY, LINGER_S, MOST_UNSETTLED, ReplyLane
from lua.calls import Command
from lua.keys import DISPATCH_GROUP, LANE
from runtime.connection import Client, Wire
from runtime.embedded import EmbeddedStore
from runtime.leases import Lease
from tests.eventually import eventually
from tests.integration.dispatching import append, pending, queue, reply
from tests.integration.reply_desk import KEYS, ONE, desk, until_pending, until_seen

pytestmark = pytest.mark.usefixtures("often")


async def test_a_crash_between_acceptance_and_acknowledgement_repeats_the_window_once_and_marked(
    server: EmbeddedStore, streams: Client
) -> None:
    names = await queue(streams, 120, partitions=ONE)
    async with desk(server.url) as first:
        first.start(first.lane.run, first.sender.run)  # the ledger writes nothing
        await until_seen(first.operator, 120)
        await first.crash()
        assert first.operator.sent_once(names)
        assert await pending(streams, ONE) == 120
        async with desk(server.url) as second:
            second.start()
            await until_pending(streams, 0)
            assert second.operator.seen == [(name, True) for name in names]
            assert await append(streams, reply("new"))
            await until_seen(second.operator, 121)
            assert second.operator.seen[120:] == [("new", False)]


async def test_without_a_sure_lease_nothing_is_read_until_it_is_renewed(server: EmbeddedStore, streams: Client) -> None:
    names = await queue(streams, 10, partitions=ONE)
    async with desk(server.url) as at:
        at.lease.until_mono_s = 0.0
        at.start()
        for _ in range(20):
            await asyncio.sleep(0)
        assert await pending(streams, ONE) == 0
        assert at.operator.seen == []
        at.lease.until_mono_s = time.monotonic() + 3600
        await until_seen(at.operator, 10)
        assert at.operator.sent_once(names)


async def test_what_waits_when_the_lease_is_lost_is_not_sent_by_the_loser(
    server: EmbeddedStore, streams: Client
) -> None:
    names = await queue(streams, 150, partitions=ONE)
    async with desk(server.url) as at:
        at.operator.open.clear()
        at.start()
        await until_pending(streams, 150)
        await until_seen(at.operator, 1)
        in_flight = len(at.operator.seen)
        assert in_flight < 150
        at.lease.until_mono_s = 0.0
        at.operator.open.set()
        await until_pending(streams, 150 - in_flight)  # the ledger still writes what was accepted
        assert len(at.operator.seen) == in_flight
        async with desk(server.url) as winner:
            winner.start()
            await until_pending(streams, 0)
            assert sorted(at.operator.names + winner.operator.names) == sorted(names)
            assert all(ambiguous for _, ambiguous in winner.operator.seen)


async def test_what_was_left_for_want_of_a_lease_goes_once_the_lease_is_sure_again(
    server: EmbeddedStore, streams: Client
) -> None:
    names = await queue(streams, 150, partitions=ONE)
    async with desk(server.url) as at:
        at.operator.open.clear()
        at.start()
        await until_pending(streams, 150)
        await until_seen(at.operator, 1)
        at.lease.until_mono_s = 0.0
        at.operator.open.set()
        await until_pending(streams, 150 - len(at.operator.seen))
        at.lease.until_mono_s = time.monotonic() + 3600
        await until_pending(streams, 0)
        assert sorted(at.operator.names) == sorted(names)


async def test_a_lane_that_ended_sends_nothing_more_though_its_lease_lasts(
    server: EmbeddedStore, streams: Client
) -> None:
    await queue(streams, 150, partitions=ONE)
    async with desk(server.url) as at:
        at.start(at.lane.run, at.ledger.run)
        await until_pending(streams, 150)
        began = time.monotonic()
        at.lane.stop()

        async def has_ended() -> bool:
            return not at.lane.may_send

        await eventually(has_ended)
        assert time.monotonic() - began < LINGER_S + 1
        at.start(at.sender.run)  # the whole page still waits there
        for _ in range(200):
            await asyncio.sleep(0)
        assert at.operator.seen == []
        assert await pending(streams, ONE) == 150


async def test_a_lane_that_ends_waits_for_what_is_in_flight(server: EmbeddedStore, streams: Client) -> None:
    await queue(streams, 50, partitions=ONE)
    async with desk(server.url) as at:
        at.operator.open.clear()
        at.start(at.sender.run, at.ledger.run)
        running = asyncio.create_task(at.lane.run())
        await until_seen(at.operator, 50)
        at.lane.stop()
        await asyncio.sleep(0)
        at.operator.open.set()
        await running
        assert await pending(streams, ONE) == 0


async def test_a_read_of_a_former_holder_that_came_late_is_found_and_sent_marked_once(
    server: EmbeddedStore, streams: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatch.reply_lane.SWEEP_S", 0.015)
    async with desk(server.url) as at:
        await append(streams, reply("usual"))
        at.start()
        await until_seen(at.operator, 1)
        # In one transaction, so that the lane's own read cannot take it.
        pipeline = (("MULTI",), ("XADD", KEYS.replies, "*", "m", reply("late")))
        read = ("XREADGROUP", "GROUP", DISPATCH_GROUP, LANE, "STREAMS", KEYS.replies, ">")
        wire = Wire(server.url)
        await wire.call(*pipeline, read, ("EXEC",))
        await wire.close()
        await until_seen(at.operator, 2)
        await until_pending(streams, 0)
        assert at.operator.seen == [("usual", False), ("late", True)]


async def test_a_sweep_takes_nothing_that_is_under_way(
    server: EmbeddedStore, streams: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatch.reply_lane.SWEEP_S", 0.01)
    names = await queue(streams, 300, partitions=ONE)
    wire = Counting(server.url)
    async with desk(server.url, wire) as at:
        at.operator.open.clear()
        at.start()
        await until_pending(streams, 300)
        wire.calls = 0

        async def swept_often() -> bool:
            return wire.calls > 30

        await eventually(swept_often)
        at.operator.open.set()
        await until_pending(streams, 0)
        assert sorted(at.operator.seen) == sorted((name, False) for name in names)


class Counting(Wire):
    """Counts its calls."""

    calls = 0

    async def call(self, *commands: Command | Sequence[Any], timeout_s: float = 5.0, replicas: int = 0) -> list[Any]:
        self.calls += 1
        return await super().call(*commands, timeout_s=timeout_s, replicas=replicas)


async def test_what_is_settled_while_a_page_is_on_its_way_is_not_sent_again(
    server: EmbeddedStore, streams: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatch.reply_lane.SWEEP_S", 0.01)
    await queue(streams, 20, partitions=ONE)
    submitted: list[Outgoing] = []

    class Late(Wire):
        """Hands a page over only after its replies were settled."""

        async def call(
            self, *commands: Command | Sequence[Any], timeout_s: float = 5.0, replicas: int = 0
        ) -> list[Any]:
            answers = await super().call(*commands, timeout_s=timeout_s, replicas=replicas)
            if len(submitted) == 20 and answers[0] and answers[0][0][1]:
                lane.settled([outgoing.entry_id for outgoing in submitted])
                pages.append(len(answers[0][0][1]))
                lane.stop()
            return answers

    pages: list[int] = []
    lane = ReplyLane(Lease(0, KEYS, "1", time.monotonic() + 60), wire=Late(server.url), submit=submitted.extend)
    await lane.run()
    assert pages == [20]
    assert len(submitted) == 20


async def test_no_more_than_its_share_is_under_way(server: EmbeddedStore, streams: Client) -> None:
    await queue(streams, MOST_UNSETTLED + 250, partitions=ONE)
    async with desk(server.url) as at:
        at.operator.open.clear()
        at.start()
        await until_pending(streams, MOST_UNSETTLED)
        for _ in range(100):
            await asyncio.sleep(0)
        assert await pending(streams, ONE) == MOST_UNSETTLED
        at.operator.open.set()
        await until_seen(at.operator, MOST_UNSETTLED + 250)


@pytest.mark.parametrize(("size", "read"), [(BUSY, BUSY), (BUSY - 1, 2 * BUSY - 2)], ids=["busy", "calm"])
async def test_after_a_busy_page_the_next_is_gathered_until_a_stop(
    server: EmbeddedStore, streams: Client, monkeypatch: pytest.MonkeyPatch, size: int, read: int
) -> None:
    monkeypatch.setattr("dispatch.reply_lane.GATHER_S", 1e6)
    submitted: list[Outgoing] = []
    lane = ReplyLane(Lease(0, KEYS, "1", time.monotonic() + 60), wire=Wire(server.url), submit=submitted.extend)
    await queue(streams, size, partitions=ONE)
    running = asyncio.create_task(lane.run())

    async def are_read(count: int) -> None:
        async def is_so() -> bool:
            return len(submitted) >= count

        await eventually(is_so)

    await are_read(size)
    await queue(streams, size, first=size, partitions=ONE)
    for _ in range(20):  # a read that waits in the store is answered before these
        await streams.execute_command("PING")
    await are_read(read)
    lane.settled([outgoing.entry_id for outgoing in submitted])
    lane.stop()
    await running
    assert len(submitted) == read


async def test_a_waiting_read_never_outlives_the_lease(server: EmbeddedStore, streams: Client) -> None:
    blocks: list[int] = []

    class Noting(Wire):
        async def call(
            self, *commands: Command | Sequence[Any], timeout_s: float = 5.0, replicas: int = 0
        ) -> list[Any]:
            (command,) = commands
            if "BLOCK" in command:
                blocks.append(int(command[list(command).index("BLOCK") + 1]))
                lane.stop()
            return await super().call(*commands, timeout_s=timeout_s, replicas=replicas)

    lease = Lease(0, KEYS, "1", time.monotonic() + 0.06)
    lane = ReplyLane(lease, wire=Noting(server.url), submit=lambda _: None)
    await lane.run()
    assert streams
    assert len(blocks) == 1
    assert 1 <= blocks[0] <= 60
