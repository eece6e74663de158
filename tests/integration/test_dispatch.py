"""A dispatcher and its operator on the real server: whatever either does, each reply is accepted once or marked."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from bench.sink import Behaviour
from dispatch.operators.port import Outcome, Parcel
from lua import calls
from lua.keys import DISPATCH_GROUP, LANE, members, partition_keys, tags
from lua.library import ensure_loaded
from runtime.connection import Client, connect
from runtime.embedded import EmbeddedStore
from tests.eventually import eventually
from tests.integration.dispatching import (
    PARTITIONS,
    SETTINGS,
    Recorder,
    append,
    dead,
    dispatching,
    left,
    pending,
    queue,
    register,
    reply,
    sinking,
    twice_unmarked,
    until_empty,
)


async def test_every_reply_is_sent_once_and_the_streams_are_empty_after(
    server: EmbeddedStore, redis: Client, tmp_path: Path
) -> None:
    names = await queue(redis, 1000)
    async with sinking(tmp_path / "log") as sink, dispatching(server.url, sink.operator()):
        await until_empty(redis)
        assert Counter(sink.names) == Counter(names)
        assert not any(line.get("ambiguous") for line in sink.lines)
    assert await dead(redis) == []


async def test_replies_of_many_partitions_share_requests_of_at_most_a_hundred(
    server: EmbeddedStore, redis: Client
) -> None:
    partitions = [partition_keys(tag) for tag in tags(64)]
    names = await queue(redis, 640, partitions=partitions)
    operator = Recorder()
    operator.open.clear()
    async with dispatching(server.url, operator, partitions=partitions):

        async def all_read() -> bool:
            return await pending(redis, partitions) == 640

        await eventually(all_read)
        operator.open.set()
        await until_empty(redis, partitions)
    assert operator.sent_once(names)
    assert max(operator.batches) == 100


async def test_replies_of_one_partition_keep_their_order_where_nothing_fails(
    server: EmbeddedStore, redis: Client
) -> None:
    names = await queue(redis, 300, partitions=PARTITIONS[:1])
    operator = Recorder()
    settings = msgspec.structs.replace(SETTINGS, operator_window=1)
    async with dispatching(server.url, operator, settings=settings):
        await until_empty(redis)
    assert operator.names == names


async def test_replies_that_come_while_it_runs_are_sent_too(server: EmbeddedStore, redis: Client) -> None:
    operator = Recorder()
    async with dispatching(server.url, operator):
        names = [name for round_ in range(5) for name in await queue(redis, 20, first=100 * round_)]
        await until_empty(redis)
    assert operator.sent_once(names)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"expires_at": "2020-01-01T00:00:00.000Z"}, "lapsed: not sent in time"),
        ({"expires_at": "2020-01-01T00:00:00.000Z", "verdict": "refused"}, "lapsed: not sent in time"),
        ({"expires_at": "tomorrow"}, "lapsed: not sent in time"),
        ({"to": "8103"}, "unanswerable: not a phone number"),
        ({"to": "+8103"}, "unanswerable: not a phone number"),
        ({"to": "ASAN"}, "unanswerable: not a phone number"),
        ({"to": "+994501234567890123"}, "unanswerable: not a phone number"),
        ({"to": "+٩٩٤٥٠١٢٣٤٥٦٧"}, "unanswerable: not a phone number"),
        ({"to": ""}, "unanswerable: not a phone number"),
    ],
)
async def test_what_must_not_be_sent_is_a_dead_letter_and_the_rest_goes(
    fields: dict[str, str], reason: str, server: EmbeddedStore, redis: Client
) -> None:
    body = reply("never", **fields)
    await append(redis, body)
    names = await queue(redis, 8)
    operator = Recorder()
    async with dispatching(server.url, operator):
        await until_empty(redis)
    assert operator.sent_once(names)
    (letter,) = await dead(redis)
    assert letter["reason"] == reason
    assert letter["raw"] == body.decode()


async def test_more_than_the_window_is_never_in_flight(server: EmbeddedStore, redis: Client) -> None:
    names = await queue(redis, 1200)
    operator = Recorder()
    operator.open.clear()
    settings = msgspec.structs.replace(SETTINGS, operator_window=3)
    async with dispatching(server.url, operator, settings=settings):

        async def is_full() -> bool:
            return operator.under_way == 3 and await pending(redis) == 1200

        await eventually(is_full)
        assert len(operator.seen) <= 300
        operator.open.set()
        await until_empty(redis)
    assert operator.most_under_way == 3
    assert operator.sent_once(names)


async def test_the_operators_rate_holds(server: EmbeddedStore, redis: Client) -> None:
    names = await queue(redis, 400)
    loop = asyncio.get_running_loop()
    times: list[float] = []

    class Timed(Recorder):
        async def send(self, parcels: Sequence[Parcel]) -> Outcome:
            times.extend([loop.time()] * len(parcels))
            return await super().send(parcels)

    operator = Timed()
    settings = msgspec.structs.replace(SETTINGS, operator_rate=200.0)
    async with dispatching(server.url, operator, settings=settings):
        await until_empty(redis)
    assert operator.sent_once(names)
    for began in times:
        assert sum(began <= at < began + 1 for at in times) <= 200 + 20 + 20  # the rate, a burst, a late timer
    assert times[-1] - times[0] >= 1.7


async def test_a_stop_sends_everything_that_is_queued(server: EmbeddedStore, redis: Client, tmp_path: Path) -> None:
    names = await queue(redis, 2000)
    async with sinking(tmp_path / "log", Behaviour(latency_ms=5)) as sink:
        async with dispatching(server.url, sink.operator()) as running:

            async def has_begun() -> bool:
                return bool(sink.names)

            await eventually(has_begun)
            await running.stop()
        assert Counter(sink.names) == Counter(names)
    assert await left(redis) == 0
    assert await redis.execute_command("EXISTS", members("dispatch")) == 0
    assert await redis.execute_command("EXISTS", *(keys.lease("dispatch") for keys in PARTITIONS)) == 0


async def test_a_stop_does_not_wait_for_ever_for_an_operator_that_is_away(
    server: EmbeddedStore, redis: Client, tmp_path: Path
) -> None:
    names = await queue(redis, 3000)
    async with sinking(tmp_path / "closed") as closed:
        pass
    settings = msgspec.structs.replace(SETTINGS, drain_s=0.3)
    async with dispatching(server.url, closed.operator(), settings=settings):

        async def has_read() -> bool:
            return await pending(redis) > 0

        await eventually(has_read)
    assert await left(redis) == 3000
    operator = Recorder()
    async with dispatching(server.url, operator):
        await until_empty(redis)
    assert set(operator.names) == set(names)
    assert len(operator.names) == 3000


async def test_a_second_group_keeps_the_replies_until_it_has_read_them(server: EmbeddedStore, redis: Client) -> None:
    keys = PARTITIONS[0]
    await calls.register(redis, keys, group="operator", now_ms=0)
    names = await queue(redis, 40, partitions=[keys])
    recorder = Recorder()
    async with dispatching(server.url, recorder):

        async def all_sent() -> bool:
            return len(recorder.seen) == 40 and await pending(redis) == 0

        await eventually(all_sent)
        assert await redis.execute_command("XLEN", keys.replies) == 40
        read = await redis.execute_command(
            "XREADGROUP", "GROUP", "operator", "one", "COUNT", 25, "STREAMS", keys.replies, ">"
        )
        entries = read[0][1]
        await redis.execute_command("XACK", keys.replies, "operator", *(entry_id for entry_id, _ in entries))

        async def trimmed() -> bool:
            return await redis.execute_command("XLEN", keys.replies) == 15

        await eventually(trimmed)
    assert recorder.sent_once(names)


async def test_two_dispatchers_share_the_partitions_and_nobody_sends_twice(
    server: EmbeddedStore, redis: Client
) -> None:
    partitions = [partition_keys(tag) for tag in tags(8)]
    settings = msgspec.structs.replace(SETTINGS, lease_ms=2000)
    one, other = Recorder(), Recorder()
    names: list[str] = []
    async with dispatching(server.url, one, partitions=partitions, settings=settings) as first:
        names += await queue(redis, 200, partitions=partitions)
        async with dispatching(server.url, other, partitions=partitions, settings=settings) as second:

            async def is_shared() -> bool:
                return len(first.dispatcher.held) == len(second.dispatcher.held) == 4

            for round_ in itertools.count(1):
                names += await queue(redis, 50, first=1000 * round_, partitions=partitions)
                if await is_shared():
                    break
            names += await queue(redis, 200, first=500_000, partitions=partitions)
            await until_empty(redis, partitions)
        names += await queue(redis, 50, first=600_000, partitions=partitions)
        await until_empty(redis, partitions)
    assert other.seen
    seen = Counter(one.names) + Counter(other.names)
    assert {name: times for name, times in seen.items() if times > 1} == {}
    assert set(seen) == set(names)


async def test_what_another_dispatcher_left_pending_is_sent_marked(server: EmbeddedStore, redis: Client) -> None:
    await register(redis)
    names = await queue(redis, 250, partitions=PARTITIONS[:1])
    await redis.execute_command(
        "XREADGROUP", "GROUP", DISPATCH_GROUP, LANE, "COUNT", 150, "STREAMS", PARTITIONS[0].replies, ">"
    )
    operator = Recorder()
    async with dispatching(server.url, operator):
        await until_empty(redis)
    assert Counter(operator.seen) == Counter((name, number < 150) for number, name in enumerate(names))


async def test_what_another_dispatcher_acknowledged_and_did_not_trim_goes(server: EmbeddedStore, redis: Client) -> None:
    await register(redis)
    await queue(redis, 10, partitions=PARTITIONS[:1])
    read = await redis.execute_command(
        "XREADGROUP", "GROUP", DISPATCH_GROUP, LANE, "COUNT", 10, "STREAMS", PARTITIONS[0].replies, ">"
    )
    await redis.execute_command("XACK", PARTITIONS[0].replies, DISPATCH_GROUP, *(one for one, _ in read[0][1]))
    operator = Recorder()
    async with dispatching(server.url, operator):
        await until_empty(redis)
    assert operator.seen == []


async def test_a_storm_of_cut_connections_loses_nothing_and_repeats_nothing_unmarked(
    server: EmbeddedStore, redis: Client, tmp_path: Path
) -> None:
    names: list[str] = []
    async with sinking(tmp_path / "log", Behaviour(latency_ms=2)) as sink:
        async with dispatching(server.url, sink.operator()):
            for round_ in range(15):
                names += await queue(redis, 40, first=100 * round_)
                await redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await until_empty(redis, within_s=40)
        seen = [(line["id"], line.get("ambiguous", False)) for line in sink.lines]
    assert {name for name, _ in seen} == set(names)
    assert twice_unmarked(seen) == []
    assert await dead(redis) == []


@pytest.mark.parametrize("killed", [False, True], ids=["shut down", "killed"])
async def test_a_store_that_is_restarted_under_way_loses_nothing(killed: bool, tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "data", fsync=True, memory_mb=128)
    await store.start()
    try:
        names = await _restarted_under_way(store, killed, tmp_path / "log")
    finally:
        await store.stop()
    assert names == []


async def _restarted_under_way(store: EmbeddedStore, killed: bool, log: Path) -> list[str]:
    """Ids that are missing or were repeated without the mark."""
    client = connect(store.url)
    try:
        await ensure_loaded(client)
        names = await queue(client, 1500)
        async with sinking(log, Behaviour(latency_ms=5)) as sink, dispatching(store.url, sink.operator()):

            async def has_begun() -> bool:
                return len(sink.names) > 100

            await eventually(has_begun)
            if killed:
                store.kill()
            else:
                await store.stop()
            await store.start()
            await until_empty(client, within_s=40)
            seen = [(line["id"], line.get("ambiguous", False)) for line in sink.lines]
    finally:
        await client.aclose()
    missing = set(names) - {name for name, _ in seen}
    return sorted(missing) + twice_unmarked(seen)


async def test_a_group_that_vanished_is_made_anew_and_its_replies_go_marked(
    server: EmbeddedStore, redis: Client
) -> None:
    operator = Recorder()
    async with dispatching(server.url, operator):
        await queue(redis, 20)
        await until_empty(redis)
        await redis.execute_command("XGROUP", "DESTROY", PARTITIONS[0].replies, DISPATCH_GROUP)
        await append(redis, reply("after"))
        await until_empty(redis)
        await append(redis, reply("long after"))
        await until_empty(redis)
    assert operator.seen[20:] == [("after", True), ("long after", False)]


async def test_an_operator_that_fails_unforeseen_gets_its_replies_again_marked(
    server: EmbeddedStore, redis: Client
) -> None:
    class Broken(Recorder):
        failures = 1

        async def send(self, parcels: Sequence[Parcel]) -> Outcome:
            if self.failures:
                self.failures -= 1
                raise ZeroDivisionError
            return await super().send(parcels)

    await queue(redis, 1)
    operator = Broken()
    async with dispatching(server.url, operator):

        async def is_sent() -> bool:
            return bool(operator.seen) and await pending(redis) == 0

        await eventually(is_sent)
    assert [ambiguous for _, ambiguous in operator.seen] == [True]
