"""The monitor on a real store: what it shows, when it is stale, and a stream of events that nobody can hold up."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientPayloadError

from api import monitor
from api.events import Events
from lua.keys import DISPATCH_GROUP
from permits.calendar import rfc3339
from permits.outcomes import APPROVED, CANCELLED, CANCELLED_HELD, DEAD, DUPLICATE, REFUSALS
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from tests.eventually import eventually
from tests.integration.monitor_door import (
    NOON_MS,
    PARTITIONS,
    STAFF,
    Clock,
    Http,
    heard,
    listening,
    monitor_door,
    serving,
    shown,
)

TODAY = "20260101"
BIG = b'"' + b"x" * 1_000_000 + b'"'
"""One event that fills the buffers of a connection soon."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


def before_ms(clock: Clock, ms: int) -> str:
    """The moment so long before the clock's."""
    return rfc3339(clock.now_ms - ms)


async def listeners(events: Events, number: int) -> None:
    """Wait until so many listen."""

    async def look() -> bool:
        return events.listeners == number

    await eventually(look)


async def test_the_monitor_shows_what_stands_in_the_store(server: EmbeddedStore, redis: Client, clock: Clock) -> None:
    first, second, *_ = PARTITIONS
    call = redis.execute_command
    refused = f"{REFUSALS['quota']}2", 2, f"{REFUSALS['malformed']}0", 4
    counts = (f"{APPROVED}2", 7, *refused, f"{CANCELLED}2", 2, f"{CANCELLED_HELD}2", 1, "id_reused", 1, "unanswered", 2)
    await call("HSET", first.counts(TODAY), *counts)
    await call("HSET", second.counts(TODAY), f"{APPROVED}1", 1, f"{DUPLICATE}2", 3, f"{DEAD}0", 5)
    await call("HSET", second.counts("20251231"), f"{APPROVED}1", 1000)
    await call("XADD", first.inbound, f"{NOON_MS - 4000}-0", "m", "{}")
    await call("XGROUP", "CREATE", second.replies, DISPATCH_GROUP, "0", "MKSTREAM")
    for number in range(5):
        await call("XADD", second.replies, f"{NOON_MS - 9500 + number}-0", "m", "{}")
    await call("XREADGROUP", "GROUP", DISPATCH_GROUP, "lane", "COUNT", 4, "STREAMS", second.replies, ">")
    await call("XACK", second.replies, DISPATCH_GROUP, *(f"{NOON_MS - 9500 + number}-0" for number in (1, 2, 3)))
    await call("XADD", second.applications, f"{NOON_MS - 1000}-0", "m", "{}")
    await call("XADD", second.outbox, f"{NOON_MS - 60_000}-0", "m", "{}")
    await call("ZADD", second.held, NOON_MS - 3000, "due", NOON_MS + 900_000, "not yet")
    await call("XADD", first.dead, "*", "m", "{}")
    door = monitor_door(server.url, clock)
    async with serving(door) as http:
        await door.look()
        answer = await shown(http)
    assert (answer["at"], answer["day"], answer["stale"]) == ("2026-01-01T08:00:00.000Z", "2026-01-01", False)
    assert answer["totals"] == {
        "decided": 17,
        "approved": 8,
        "refused": 6,
        "cancelled": 3,
        "duplicate": 3,
        "shed": 0,
        "moved": 0,
        "dead": 5,
        "id_reused": 1,
        "unanswered": 2,
    }
    verdicts = {(row["purpose"], row["verdict"], row["reason"]): row["count"] for row in answer["verdicts"]}
    assert len(answer["verdicts"]) == len(verdicts)
    assert verdicts == {
        (1, "approved", None): 1,
        (2, "approved", None): 7,
        (2, "refused", "quota"): 2,
        (None, "refused", "malformed"): 4,
        (2, "cancelled", None): 3,
        (2, "duplicate", None): 3,
        (None, "dead", None): 5,
    }
    assert answer["lag"] == {
        "undecided": 1,
        "unsent": 2,
        "applications": 1,
        "outbox": 1,
        "held": 2,
        "dead_letters": 1,
        "oldest_undecided_s": 4.0,
        "oldest_unsent_s": 9.5,
        "oldest_application_s": 1.0,
        "oldest_outbox_s": 60.0,
        "oldest_overdue_s": 3.0,
        "spooled": 0,
        "oldest_spooled_s": 0.0,
    }
    assert [row["partition"] for row in answer["partitions"]] == [0, 1, 2, 3]
    assert answer["partitions"][1] == {
        "partition": 1,
        "undecided": 0,
        "unsent": 2,
        "applications": 1,
        "outbox": 1,
        "held": 2,
        "dead_letters": 0,
        "oldest_s": 60.0,
    }


async def test_rates_are_those_of_the_last_looks(server: EmbeddedStore, redis: Client, clock: Clock) -> None:
    door = monitor_door(server.url, clock)
    async with serving(door) as http:
        for second in range(20):
            decided = 100 * max(0, second - 9)  # nothing at first, and 100 a second in the last ten
            await redis.execute_command("HSET", PARTITIONS[0].counts(TODAY), f"{APPROVED}2", decided)
            clock.now_ms = NOON_MS + 1000 * second
            await door.look()
        assert (await shown(http))["rates"] == {"decided_per_s": 100, "approved_per_s": 100, "refused_per_s": 0}


async def test_rates_begin_anew_at_midnight(server: EmbeddedStore, redis: Client, clock: Clock) -> None:
    door = monitor_door(server.url, clock)
    midnight_ms = NOON_MS + 12 * 3_600_000
    async with serving(door) as http:
        for at_ms, day, decided in ((-1000, TODAY, 90), (0, "20260102", 5), (1000, "20260102", 25)):
            await redis.execute_command("HSET", PARTITIONS[0].counts(day), f"{APPROVED}2", decided)
            clock.now_ms = midnight_ms + at_ms
            await door.look()
        answer = await shown(http)
    assert (answer["day"], answer["totals"]["decided"]) == ("2026-01-02", 25)
    assert answer["rates"]["decided_per_s"] == 20


@pytest.mark.parametrize("path", ["/v1/monitor", "/v1/monitor/events"])
async def test_only_a_token_for_the_monitor_sees_it(server: EmbeddedStore, clock: Clock, path: str) -> None:
    async with serving(monitor_door(server.url, clock)) as http:
        assert (await http.get(path)).status == 401
        assert (await http.get(path, headers={"Authorization": "Bearer bad"})).status == 401
        assert (await http.get(path, headers={"Authorization": "Bearer status"})).status == 403


async def test_before_the_first_look_there_are_no_figures(server: EmbeddedStore, clock: Clock) -> None:
    async with serving(monitor_door(server.url, clock)) as http:
        response = await http.get("/v1/monitor", headers=STAFF)
        assert (response.status, response.headers["Retry-After"]) == (503, "1")


@pytest.fixture
async def own_store(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    """A server that the test may stop."""
    store = EmbeddedStore(tmp_path, fsync=False, memory_mb=64)
    await store.start()
    yield store
    await store.stop()


async def test_a_store_that_is_away_leaves_the_last_figures_and_they_are_stale(
    own_store: EmbeddedStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "EVERY_S", 0.02)
    async with serving(monitor_door(own_store.url, clock), looking=True) as http:

        async def fresh() -> bool:
            response = await http.get("/v1/monitor", headers=STAFF)
            return response.status == 200 and not (await response.json())["stale"]

        async def stale() -> bool:
            clock.now_ms += 500  # time goes on; a look that is under way may still come
            return not await fresh()

        await eventually(fresh)
        await own_store.stop()
        await eventually(stale)
        before = await shown(http)
        assert before["at"] < before_ms(clock, 3000)
        await own_store.start()
        await eventually(fresh)
        after = await shown(http)
        assert (after["at"], after["totals"]) == (before_ms(clock, 0), before["totals"])


async def test_each_look_is_an_event_with_the_answer_of_the_moment(
    server: EmbeddedStore, redis: Client, clock: Clock
) -> None:
    door = monitor_door(server.url, clock)
    async with serving(door) as http:
        stream = await listening(http)
        assert stream.content_type == "text/event-stream"
        assert stream.headers["Cache-Control"] == "no-store"
        assert stream.headers["X-Request-Id"]
        for second in range(3):
            clock.now_ms = NOON_MS + 1000 * second
            await redis.execute_command("XADD", PARTITIONS[0].inbound, "*", "m", "{}")
            await door.look()
            event = await heard(stream)
            assert event.id == NOON_MS // 1000 + second
            assert event.data == await shown(http)
            assert event.data["lag"]["undecided"] == second + 1


@pytest.fixture
def events() -> Events:
    """Few places, a short memory, and little patience."""
    return Events("figures", kept=5, most_listeners=3, heartbeat_s=60, slow_s=60)


def publish(events: Events, *seconds: int) -> None:
    for second in seconds:
        events.publish(second, b"%d" % second)


async def ids(http: Http, events: Events, last_event_id: str | None, expected: list[int]) -> None:
    """A listener that comes with this id gets these events, and then what comes next."""
    stream = await listening(http, last_event_id)
    publish(events, 1000)
    assert [(await heard(stream)).id for _ in range(len(expected) + 1)] == [*expected, 1000]
    stream.close()


@pytest.mark.parametrize(
    ("last_event_id", "expected"),
    [
        ("107", [108, 109]),
        ("109", []),
        ("104", [105, 106, 107, 108, 109]),
        ("2", [105, 106, 107, 108, 109]),
        (None, []),
        ("5000", []),
        ("", []),
        ("-3", []),
        ("107.5", []),
        ("٣", []),
        ("9" * 5000, []),
    ],
)
async def test_a_listener_that_comes_back_reads_on_after_its_last_event(
    server: EmbeddedStore, clock: Clock, events: Events, last_event_id: str | None, expected: list[int]
) -> None:
    async with serving(monitor_door(server.url, clock, events)) as http:
        publish(events, *range(100, 110))
        await ids(http, events, last_event_id, expected)


async def test_ids_go_up_where_a_second_comes_twice_or_the_clock_goes_back(
    server: EmbeddedStore, clock: Clock, events: Events
) -> None:
    async with serving(monitor_door(server.url, clock, events)) as http:
        stream = await listening(http)
        publish(events, 100, 100, 50, 200)
        assert [(await heard(stream)).id for _ in range(4)] == [100, 101, 102, 200]


async def test_where_nothing_comes_a_comment_keeps_the_stream_open(server: EmbeddedStore, clock: Clock) -> None:
    events = Events("figures", heartbeat_s=0.01)
    async with serving(monitor_door(server.url, clock, events)) as http:
        stream = await listening(http)
        assert await stream.content.readuntil(b"\n\n") == b":\n\n"
        publish(events, 7)
        text = b":\n\n"
        while text == b":\n\n":
            text = await stream.content.readuntil(b"\n\n")
        assert text.startswith(b"id: 7\n")


async def test_a_full_house_sends_listeners_away_until_one_leaves(
    server: EmbeddedStore, clock: Clock, events: Events
) -> None:
    async with serving(monitor_door(server.url, clock, events)) as http:
        streams = [await listening(http) for _ in range(3)]
        response = await http.get("/v1/monitor/events", headers=STAFF)
        assert (response.status, response.content_type) == (503, "application/problem+json")
        streams[0].close()

        async def left() -> bool:  # that it has left shows when the next events are written
            publish(events, 1)
            return events.listeners == 2

        await eventually(left)
        assert (await listening(http)).status == 200


async def test_a_listener_that_does_not_read_is_dropped_and_holds_up_nobody(
    server: EmbeddedStore, clock: Clock
) -> None:
    events = Events("figures", kept=100, heartbeat_s=60, slow_s=0.2)
    async with serving(monitor_door(server.url, clock, events)) as http:
        deaf, reader = await listening(http), await listening(http)
        for second in range(1, 40):
            events.publish(second, BIG)
            assert (await heard(reader)).id == second
        await listeners(events, 1)
        with pytest.raises(ClientPayloadError):
            await deaf.content.read()
        publish(events, 100)
        assert (await heard(reader)).id == 100


async def test_a_stop_ends_all_streams_at_once_that_of_a_deaf_listener_too(server: EmbeddedStore, clock: Clock) -> None:
    events = Events("figures", kept=100)
    async with asyncio.timeout(10), serving(monitor_door(server.url, clock, events), shutdown_s=60) as http:
        reader, deaf = await listening(http), await listening(http)
        for second in range(1, 40):
            events.publish(second, BIG)
            assert (await heard(reader)).id == second
        assert events.listeners == 2
        assert http.app is not None
        await http.app.shutdown()
        await listeners(events, 0)
        assert await reader.content.read() == b""
        deaf.close()
        assert (await http.get("/v1/monitor/events", headers=STAFF)).status == 503


async def test_a_stream_ends_after_its_time_so_that_its_token_is_judged_again(
    server: EmbeddedStore, clock: Clock
) -> None:
    events = Events("figures", heartbeat_s=0.01, stream_s=0.05)
    async with serving(monitor_door(server.url, clock, events)) as http:
        stream = await listening(http)
        assert (await stream.content.read()).strip(b":\n") == b""
        await listeners(events, 0)
