"""Day keys in the store: all agree on one, lanes wait for what they do not know, and what is erased stays unread."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

from ingest.app import Ingest
from ingest.group_commit import GroupCommit
from ingest.high_water import HighWater
from ingest.signature import Signatures
from permits.calendar import DAY_MS, day_name, day_start_ms, local_day
from permits.messages import ENCODER, INBOUND_DECODER, SEALED_DECODER
from runtime import day_keys as module
from runtime import doors
from runtime.connection import Client, Wire
from runtime.day_keys import AHEAD_MS, DayKeys, UnreadDayKeyError
from runtime.embedded import EmbeddedStore
from runtime.errors import StartupError
from runtime.keyring import Keyring
from runtime.sealing import opened_sms
from runtime.shared import SharedWire
from tests.day_keys import KEYRING, sealed
from tests.eventually import eventually
from tests.integration.ingest_door import KEYS, ROUTE, settings_of
from tests.integration.lanes import AT_HOME, AWAY, HOME, Floor, each_decided_once, payload, restarts
from tests.link import impatient, linked

KEY: Final = KEYS[0].day_keys
WAITS: Final = "UnreadDayKeyError"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def today() -> str:
    return day_name(local_day(now_ms()))


class Clock:
    """Stands still until it is set."""

    def __init__(self, at_ms: int) -> None:
        self.at_ms = at_ms

    def __call__(self) -> int:
        return self.at_ms


@asynccontextmanager
async def keys_of(url: str, clock: Any = now_ms, ring: Keyring = KEYRING) -> AsyncGenerator[DayKeys]:
    """The keys as one role knows them; nothing is read yet."""
    wire = SharedWire(Wire(url))
    try:
        yield DayKeys(wire.execute_command, key=KEY, keyring=ring, wall_ms=clock)
    finally:
        await wire.close()


def entry(keys: DayKeys, text: str, sms_id: str, *, day: str = "") -> bytes:
    """One SMS as ingest stores it."""
    return ENCODER.encode(sealed(keys.of(day or today()), INBOUND_DECODER.decode(payload(text, sms_id)), ROUTE))


@pytest.fixture
async def floor(redis: Client, server: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> Floor:
    monkeypatch.setattr("processor.lane.BLOCK_MS", 50)
    return await Floor(redis, server.url).open()


# --- the keys


async def test_all_who_make_a_day_s_key_at_once_agree_on_one(redis: Client, server: EmbeddedStore) -> None:
    async with keys_of(server.url) as one, keys_of(server.url) as two, keys_of(server.url) as three:
        await asyncio.gather(*(keys.refresh() for keys in (one, two, three) for _ in range(5)))
        sealed = one.of(today()).seal(b"text", b"place")
        assert [keys.of(today()).open(sealed, b"place") for keys in (two, three)] == [b"text"] * 2
    (stored,) = {await redis.execute_command("HGET", KEY, today())}
    assert stored.startswith(b"k1.")
    assert KEYRING.open(stored.decode(), f"day key {today()}") not in stored


async def test_a_key_that_was_made_meanwhile_stays(redis: Client, server: EmbeddedStore) -> None:
    async with keys_of(server.url) as first:
        wire = Wire(server.url)

        async def late(*command: Any) -> Any:
            if command[0] == "HSETNX":
                await first.refresh()
            return await wire.execute_command(*command)

        second = DayKeys(late, key=KEY, keyring=KEYRING)
        await second.refresh()
        sealed = first.of(today()).seal(b"text", b"place")
        await first.refresh()
        assert [keys.of(today()).open(sealed, b"place") for keys in (first, second)] == [b"text"] * 2
        await wire.close()


async def test_the_next_day_s_key_is_made_well_before_midnight(redis: Client, server: EmbeddedStore) -> None:
    midnight_ms = day_start_ms(local_day(now_ms()) + 1)
    clock = Clock(midnight_ms - AHEAD_MS - 1)
    async with keys_of(server.url, clock) as keys:
        await keys.refresh()
        assert list(keys.known) == [day_name(local_day(at_ms)) for at_ms in (clock(), midnight_ms - 1)]
        clock.at_ms += 1
        await keys.refresh()
        assert keys.at(midnight_ms).day == day_name(local_day(midnight_ms))
    assert AHEAD_MS >= DAY_MS, "a store that goes away in the evening is missed until it is back, past midnight"


async def test_what_follows_the_keys_makes_a_missing_one_and_forgets_an_erased_one(
    redis: Client, server: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.01)
    monkeypatch.setattr(module, "SOON_S", 0.01)
    clock = Clock(now_ms() - 9 * DAY_MS)
    async with keys_of(server.url, clock) as keys:
        await keys.begin()
        first = keys.at(clock()).day
        following = asyncio.create_task(keys.follow())
        clock.at_ms += 5 * DAY_MS

        async def made() -> bool:
            return day_name(local_day(clock())) in keys.known

        async def forgotten() -> bool:
            return first not in keys.known

        await eventually(made)
        await redis.execute_command("HDEL", KEY, first)
        await eventually(forgotten)
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following


async def test_a_clock_that_is_set_forward_has_its_key_within_a_moment(
    redis: Client, server: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SOON_S", 0.01)
    clock = Clock(now_ms())
    async with keys_of(server.url, clock) as keys:
        await keys.begin()
        following = asyncio.create_task(keys.follow())
        await asyncio.sleep(0)  # it waits for its next look
        clock.at_ms += 3 * DAY_MS

        async def sealable() -> bool:
            return day_name(local_day(clock.at_ms)) in keys.known

        await eventually(sealable, within_s=5)
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following


async def test_a_store_that_takes_no_key_is_no_reason_not_to_start(redis: Client, server: EmbeddedStore) -> None:
    async def read_only(*command: Any) -> Any:
        return await redis.execute_command("GET" if command[0] == "HSETNX" else "HKEYS", command[1])

    await redis.execute_command("HSET", KEY, "rewrite", "20260101")
    await redis.execute_command("HDEL", KEY, "rewrite")
    keys = DayKeys(read_only, key=KEY, keyring=KEYRING)
    await keys.begin()
    with pytest.raises(UnreadDayKeyError):
        keys.at(now_ms())


async def test_keys_of_another_keyring_stop_the_start_with_a_reason(redis: Client, server: EmbeddedStore) -> None:
    async with keys_of(server.url) as ours, keys_of(server.url, ring=Keyring({"k1": b"x" * 32}, "k1")) as theirs:
        await ours.begin()
        with pytest.raises(StartupError, match="not sealed by one of our keys"):
            await theirs.begin()
    await redis.execute_command("SET", KEY, "no hash")
    async with keys_of(server.url) as ours:
        with pytest.raises(StartupError, match="WRONGTYPE"):
            await ours.begin()


# --- ingest


async def ready() -> dict[str, Any]:
    """Nobody asks."""
    return {}


async def test_ingest_seals_under_the_next_day_s_key_from_midnight_on(
    redis: Client, server: EmbeddedStore, tmp_path: Path
) -> None:
    midnight_ms = day_start_ms(local_day(now_ms()) + 1)
    clock = Clock(midnight_ms - 1)
    commit = GroupCommit(Wire(server.url))
    async with keys_of(server.url, clock) as keys:
        await keys.begin()
        ingest = Ingest(
            route=ROUTE,
            partitions=KEYS,
            signatures=Signatures([]),
            commit=commit,
            high_water=HighWater(Wire(server.url), KEYS, settings_of(tmp_path, server.url)),
            day_keys=keys,
            wall_ms=clock,
        )
        app = doors.new_app(readiness=ready)
        app.router.add_post("/v1/sms", ingest.post_sms)
        async with TestServer(app) as door, ClientSession(door.make_url("/")) as http:
            for at, (after_ms, status) in enumerate(((-1, 202), (0, 202), (3 * DAY_MS, 503))):
                clock.at_ms = midnight_ms + after_ms
                sms = {"id": f"at-{at}", "from": "+994501234567", "text": "2 AZE 1111111"}
                async with http.post("/v1/sms", json=sms) as answer:
                    assert answer.status == status
        stored = await redis.execute_command("XRANGE", KEYS[HOME].inbound, "-", "+")
        entries = [SEALED_DECODER.decode(fields[b"m"]) for _, fields in stored]
        assert [(one.id, one.day) for one in entries] == [
            ("at-0", day_name(local_day(midnight_ms) - 1)),
            ("at-1", day_name(local_day(midnight_ms))),
        ]
        assert {opened_sms(keys, one).text for one in entries} == {"2 AZE 1111111"}
    await commit.close()


# --- lanes


async def test_a_lane_waits_while_a_key_cannot_be_read_and_loses_nothing(floor: Floor, server: EmbeddedStore) -> None:
    async with linked(server.url) as link, keys_of(server.url) as ingest:
        await ingest.begin()
        wire = Wire(link.url)
        keys = DayKeys(impatient(wire), key=KEY, keyring=KEYRING)
        link.hang()
        before = restarts(WAITS)
        for at, document in enumerate(AT_HOME[:5]):
            await floor.put(entry(ingest, f"2 {document}", f"sms-{at}"))
        async with floor.deciding(day_keys=keys) as lanes:

            async def waited() -> bool:
                return restarts(WAITS) > before + 1

            await eventually(waited)
            assert await floor.undecided() == 5
            assert not lanes.done()
            link.hung = False
            await floor.settled()
        await wire.close()
    await each_decided_once(floor, [f"sms-{at}" for at in range(5)])


async def test_a_lane_that_meets_a_day_it_does_not_know_reads_its_key_and_goes_on(
    floor: Floor, server: EmbeddedStore
) -> None:
    before = restarts(WAITS)
    async with keys_of(server.url) as ingest, keys_of(server.url) as worker:
        await worker.begin()
        clock = Clock(now_ms() + 9 * DAY_MS)
        async with keys_of(server.url, clock) as ahead:
            await ahead.begin()
            day = ahead.at(clock()).day
            await ingest.begin()
            assert day not in worker.known
            await floor.put(entry(ingest, f"2 {AT_HOME[0]}", "one", day=day))
        async with floor.deciding(day_keys=worker):
            await floor.settled()
        assert day in worker.known
    await each_decided_once(floor, ["one"])
    assert restarts(WAITS) == before, "it need not begin anew for it"


async def test_an_entry_whose_key_was_erased_is_a_dead_letter_and_its_neighbours_are_decided(
    floor: Floor, server: EmbeddedStore
) -> None:
    async with keys_of(server.url, Clock(now_ms() - 5 * DAY_MS)) as then, keys_of(server.url) as worker:
        await then.begin()
        await worker.begin()
        old = then.at(now_ms() - 5 * DAY_MS).day
        await floor.put(entry(worker, f"2 {AT_HOME[0]}", "before"))
        for at in range(3):
            await floor.put(entry(then, f"2 {AT_HOME[1]}", f"old-{at}", day=old))
        await floor.put(entry(worker, f"2 {AT_HOME[2]}", "behind"))
        await floor.client.execute_command("HDEL", KEY, old)
        worker.known.pop(old)
        async with floor.deciding(day_keys=worker):
            await floor.settled()
    letters = await floor.dead_as_stored()
    assert {letter.reason for letter in letters} == {"text and sender are gone: the key of their day was erased"}
    assert [SEALED_DECODER.decode(letter.raw).id for letter in letters] == ["old-0", "old-1", "old-2"]
    assert [reply.in_reply_to for reply in await floor.replies()] == ["before", "behind"]


async def test_what_was_tampered_with_is_a_dead_letter_at_once(floor: Floor, server: EmbeddedStore) -> None:
    async with keys_of(server.url) as keys:
        await keys.begin()
        asked: list[Any] = []

        async def counted(*command: Any) -> Any:
            asked.append(command)
            raise AssertionError

        worker = DayKeys(counted, key=KEY, keyring=KEYRING)
        worker.known = keys.known
        stored = entry(keys, f"2 {AT_HOME[0]}", "one")
        await floor.put(stored.replace(b'"id":"one"', b'"id":"two"'))
        async with floor.deciding(day_keys=worker):
            await floor.settled()
        assert asked == []
    [letter] = await floor.dead_as_stored()
    assert letter.reason == f"not sealed by the key of {today()} for this place"
    assert await floor.replies() == []


async def test_an_entry_of_another_partition_goes_there_as_it_stands(floor: Floor, server: EmbeddedStore) -> None:
    there = ROUTE.of_document(AWAY)[0]
    async with keys_of(server.url) as keys:
        await keys.begin()
        stored = entry(keys, f"2 {AWAY}", "one")
        await floor.put(stored)
        async with floor.deciding(day_keys=keys):

            async def moved() -> list[Any]:
                return await floor.client.execute_command("XRANGE", KEYS[there].inbound, "-", "+")

            [(_, fields)] = await eventually(moved)
        assert fields == {b"m": stored}
        async with floor.deciding(there, day_keys=keys):
            await floor.settled()
    assert [reply.verdict for reply in await floor.replies()] == ["approved"]


async def test_a_letter_waits_for_a_key_to_be_sealed_with(floor: Floor, server: EmbeddedStore) -> None:
    async with linked(server.url) as link:
        wire = Wire(link.url)
        keys = DayKeys(impatient(wire), key=KEY, keyring=KEYRING)
        link.hang()
        before = restarts(WAITS)
        await floor.put(b"poison of +994501234567")
        async with floor.deciding(day_keys=keys):

            async def waited() -> bool:
                return restarts(WAITS) > before

            await eventually(waited)
            assert await floor.dead_as_stored() == []
            link.hung = False
            await floor.settled()
        [letter] = await floor.dead_as_stored()
        assert letter.day == today()
        assert b"994501234567" not in msgspec.json.encode(letter)
        await wire.close()
