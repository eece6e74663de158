"""The spool: what the store does not take is acknowledged from disk, and stored in order once it does."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import OutOfMemoryError, ResponseError
from redis.exceptions import TimeoutError as StoreTimeoutError

from ingest import spool_replay
from ingest.group_commit import NotStoredError
from runtime import spools
from runtime.connection import Client, Wire, connect
from runtime.embedded import EmbeddedStore
from runtime.errors import StartupError
from runtime.telemetry import REGISTRY
from tests.eventually import eventually
from tests.integration.lanes import AT_HOME, HOME, KEYS, Floor, each_decided_once, payload
from tests.integration.spooling import SHOWN_AT, entries, writing
from tests.link import linked


@pytest.fixture(autouse=True)
def _frequent_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_replay, "LOOK_S", 0.02)


def one(n: int) -> list[tuple[str, bytes]]:
    return [("inbound", b"%d" % n)]


def metric(name: str) -> float:
    return REGISTRY.get_sample_value(name) or 0.0


async def test_what_comes_while_the_store_is_away_is_stored_in_order_when_it_is_back(
    own_store: EmbeddedStore, tmp_path: Path
) -> None:
    spooled, replayed = metric("icaze_spooled_total"), metric("icaze_spool_replayed_total")
    async with writing(own_store.url, tmp_path) as writer:
        await writer.commit.append(one(0))
        own_store.kill()
        for n in range(1, 6):
            await writer.commit.append(one(n))
        facts = writer.spool.facts()
        assert (facts["spooled"], facts["spool_oldest_s"] >= 0) == (5, True)
        assert (metric("icaze_spool_entries"), metric("icaze_spooled_total") - spooled) == (5, 5)
        assert metric("icaze_spool_bytes") == facts["spool_bytes"] > 0
        await own_store.start()
        await writer.empty()
        await writer.commit.append(one(6))
        assert (metric("icaze_spool_entries"), metric("icaze_spool_replayed_total") - replayed) == (0, 5)
    client = connect(own_store.url)
    assert await entries(client) == [b"%d" % n for n in range(7)]
    await client.aclose()


async def test_a_store_killed_twice_under_load_has_every_acknowledged_entry_in_the_end(
    own_store: EmbeddedStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with writing(own_store.url, tmp_path) as writer:
        acknowledged: list[list[int]] = [[] for _ in range(8)]
        stopping = asyncio.Event()

        async def push(lane: int) -> None:
            while not stopping.is_set():
                n = len(acknowledged[lane]) * 8 + lane
                await writer.commit.append(one(n))
                acknowledged[lane].append(n)

        pushing = [asyncio.create_task(push(lane)) for lane in range(8)]

        async def more(than: int) -> bool:
            return sum(map(len, acknowledged)) > than

        for strike in range(2):
            before = sum(map(len, acknowledged))
            await eventually(lambda before=before: more(before + 200))
            own_store.kill()
            before = sum(map(len, acknowledged))
            await eventually(lambda before=before: more(before + 200))
            assert writer.spool.holds, strike
            await own_store.start()
            await writer.empty()  # while all eight go on pushing
        stopping.set()
        await asyncio.gather(*pushing)
        await writer.empty()
    client = connect(own_store.url)
    stored = [int(raw) for raw in await entries(client)]
    await client.aclose()
    assert set(stored) == {n for numbers in acknowledged for n in numbers}
    for lane in range(8):
        firsts = list(dict.fromkeys(n for n in stored if n % 8 == lane))
        assert firsts == acknowledged[lane], "the order of a pusher is kept"
    said = [record.message for record in caplog.records if record.name == "spool"]
    assert said.count("spooling begins") == said.count("spooling ended, all is stored") == 2


class Late(Wire):
    """A wire whose answers come too late."""

    async def call(self, *commands: Any, timeout_s: float = 5.0, replicas: int = 0) -> list[Any]:
        """As the wire's; nobody hears of it."""
        await super().call(*commands, timeout_s=timeout_s, replicas=replicas)
        await self.close()
        raise StoreTimeoutError("no answer")


async def test_an_answer_that_comes_too_late_makes_a_repeat_and_no_second_decision(
    redis: Client, server: EmbeddedStore, tmp_path: Path
) -> None:
    floor = await Floor(redis, server.url).open()
    ids = [f"late-{n}" for n in range(20)]
    sms = [payload(f"2 {document}", sms_id) for document, sms_id in zip(AT_HOME, ids, strict=False)]
    async with writing(server.url, tmp_path, wire=Late(server.url)) as writer:
        await asyncio.gather(*(writer.commit.append([(KEYS[HOME].inbound, one)]) for one in sms))
        await writer.empty()
    assert await floor.undecided() == 40
    async with floor.deciding():
        await floor.settled()
    outcomes = await floor.outcomes()
    assert {sms_id for sms_id, _ in outcomes} == set(ids)
    assert all(outcomes[sms_id, "approved"] == outcomes[sms_id, "duplicate"] == 1 for sms_id in ids)
    assert len(await floor.replies()) == 20


async def test_a_link_that_swallows_the_answer_loses_nothing(
    redis: Client, server: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.group_commit.ANSWER_S", 0.1)
    monkeypatch.setattr(spool_replay, "PING_S", 0.05)
    floor = await Floor(redis, server.url).open()
    ids = [f"cut-{n}" for n in range(30)]
    sms = [payload(f"2 {document}", sms_id) for document, sms_id in zip(AT_HOME, ids, strict=False)]
    async with linked(server.url) as link, writing(link.url, tmp_path) as writer:
        for n, one in enumerate(sms):
            link.drop_requests = link.drop_replies = 10 <= n < 20
            await writer.commit.append([(KEYS[HOME].inbound, one)])
        assert link.struck.total() > 0
        await writer.empty()
    async with floor.deciding():
        await floor.settled()
    await each_decided_once(floor, ids)


class Refusing(Wire):
    """A wire whose store refuses some entries."""

    error: ResponseError | None = None

    async def call(self, *commands: Any, timeout_s: float = 5.0, replicas: int = 0) -> list[Any]:
        """As the wire's; entries that are odd numbers are refused."""
        if self.error is None:
            return await super().call(*commands, timeout_s=timeout_s, replicas=replicas)
        odd = [command for command in commands if int(command[-1]) % 2]
        even = [command for command in commands if command not in odd]
        replies = iter(await super().call(*even, timeout_s=timeout_s, replicas=replicas) if even else [])
        return [self.error if command in odd else next(replies) for command in commands]


@pytest.mark.parametrize(
    "error", [OutOfMemoryError("command not allowed", status_code="OOM"), ResponseError("MISCONF no disk")]
)
async def test_what_the_store_refuses_for_its_state_is_spooled_and_the_rest_is_not(
    error: ResponseError, redis: Client, server: EmbeddedStore, tmp_path: Path
) -> None:
    wire = Refusing(server.url)
    wire.error = error
    async with writing(server.url, tmp_path, wire=wire, replaying=False) as writer:
        await asyncio.gather(*(writer.commit.append(one(n)) for n in range(10)))
        assert await entries(redis) == [b"0", b"2", b"4", b"6", b"8"]
        assert writer.spool.own.read(100) == [("inbound", b"%d" % n) for n in (1, 3, 5, 7, 9)]


async def test_what_the_store_refuses_for_itself_is_not_spooled(
    redis: Client, server: EmbeddedStore, tmp_path: Path
) -> None:
    await redis.execute_command("SET", "wrong", "no stream")
    async with writing(server.url, tmp_path) as writer:
        with pytest.raises(NotStoredError, match="WRONGTYPE"):
            await writer.commit.append([("wrong", b"x")])
        assert not writer.spool.holds


async def test_a_full_memory_is_waited_out(own_store: EmbeddedStore, tmp_path: Path) -> None:
    client = connect(own_store.url)
    async with writing(own_store.url, tmp_path) as writer:
        await client.execute_command("CONFIG SET", "maxmemory", "1")
        await writer.commit.append(one(1))
        await writer.commit.append(one(2))
        assert await entries(client) == []
        await client.execute_command("CONFIG SET", "maxmemory", "0")
        await writer.empty()
    assert await entries(client) == [b"1", b"2"]
    await client.aclose()


async def test_a_full_spool_says_so_and_keeps_what_it_has(own_store: EmbeddedStore, tmp_path: Path) -> None:
    own_store.kill()
    async with writing(own_store.url, tmp_path, spool_mb=1) as writer:
        large = [("inbound", b"x" * 1000)] * 400
        await writer.commit.append(large)
        await writer.commit.append(large)
        assert writer.spool.accepts
        with pytest.raises(NotStoredError, match="the spool holds 0 MiB"):
            await writer.commit.append(large)
        assert not writer.spool.accepts
        await own_store.start()
        await writer.empty()
        await writer.commit.append(one(1))
    client = connect(own_store.url)
    assert len(await entries(client)) == 801
    await client.aclose()


async def test_a_disk_without_room_is_told_and_nothing_is_half_acknowledged(
    own_store: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with writing(own_store.url, tmp_path) as writer:
        own_store.kill()
        await writer.commit.append(one(1))

        def no_room(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as disk:
            disk.setattr("ingest.spool_files.write", no_room)
            with pytest.raises(NotStoredError, match="No space left"):
                await writer.commit.append(one(2))
            assert not writer.spool.accepts
        await writer.commit.append(one(3))
        assert writer.spool.accepts
        await own_store.start()
        await writer.empty()
    client = connect(own_store.url)
    assert await entries(client) == [b"1", b"3"]
    await client.aclose()


async def test_the_replay_waits_while_the_store_is_full_and_shows_what_waits(
    redis: Client, server: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spools, "EVERY_S", 0.01)

    async def shown() -> int:
        found: dict[bytes, bytes] = await redis.execute_command("HGETALL", SHOWN_AT)
        flat = [part for pair in found.items() for part in pair]
        return spools.together(flat, now_ms=time.time_ns() // 1_000_000).length

    async with writing(server.url, tmp_path) as writer:
        writer.full = "2000000 SMS are waiting"
        writer.spool.begin(writer.full)
        for n in range(5):
            await writer.commit.append(one(n))

        async def told() -> bool:
            return await shown() == 5

        await eventually(told)
        assert 0 < await redis.execute_command("TTL", SHOWN_AT) <= spools.KEPT_S
        assert await entries(redis) == []
        writer.full = None
        await writer.empty()

        async def gone() -> bool:
            return await shown() == 0

        await eventually(gone)
    assert await entries(redis) == [b"%d" % n for n in range(5)]
    assert not await redis.execute_command("EXISTS", SHOWN_AT)


async def test_what_a_process_left_is_stored_at_its_next_start_before_anything_new(
    redis: Client, server: EmbeddedStore, tmp_path: Path
) -> None:
    async with writing("unix:///nowhere", tmp_path) as away:
        for n in range(21):
            await away.commit.append(one(n))
        await away.commit.append([("inbound", b"%d" % n) for n in range(21, 2500)])
    async with writing(server.url, tmp_path) as writer:
        await writer.commit.append(one(2500))
        await writer.empty()
        assert writer.spool.facts() == {"spooled": 0, "spool_bytes": 0, "spool_oldest_s": 0.0}
    assert await entries(redis) == [b"%d" % n for n in range(2501)]


async def test_a_living_process_replays_what_a_dead_one_left_and_not_what_a_living_one_holds(
    redis: Client, server: EmbeddedStore, tmp_path: Path
) -> None:
    async with writing(server.url, tmp_path) as living, writing("unix:///nowhere", tmp_path) as other:
        async with writing("unix:///nowhere", tmp_path) as dying:
            assert len({writer.spool.own.name for writer in (living, other, dying)}) == 3
            await other.commit.append(one(1))
            await dying.commit.append(one(2))

        async def adopted() -> bool:
            return await entries(redis) == [b"2"]

        await eventually(adopted)
        await living.empty()
        await living.commit.append(one(3))
        assert await entries(redis) == [b"2", b"3"]
        assert other.spool.facts()["spooled"] == 1


async def test_an_entry_that_may_not_be_stored_keeps_its_order_until_it_may(
    redis: Client, server: EmbeddedStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with writing("unix:///nowhere", tmp_path) as away:
        await away.commit.append([("inbound", b"1"), ("wrong", b"2"), ("inbound", b"3")])
    await redis.execute_command("SET", "wrong", "no stream")
    async with writing(server.url, tmp_path) as writer:

        async def waits() -> bool:
            return any(getattr(r, "fields", {}).get("because", "").find("WRONGTYPE") > 0 for r in caplog.records)

        await eventually(waits)
        await redis.execute_command("DEL", "wrong")
        await writer.empty()
    assert await entries(redis, "wrong") == [b"2"]
    assert (await entries(redis))[-1] == b"3"


async def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StartupError, match="ICAZE_SPOOL_DIR"):
        async with writing("unix:///nowhere", tmp_path / "file"):
            pass
