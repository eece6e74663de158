"""Keys past their retention go, and with them every copy in the append-only file, whatever dies in between."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from aiohttp.test_utils import unused_port
from redis.exceptions import ConnectionError as StoreConnectionError
from redis.exceptions import ResponseError

from lua.keys import partition_keys
from lua.store import Store
from permits.calendar import DAY_MS, day_name, day_start_ms, local_day
from processor import app
from processor.erasure import REWRITE, Eraser
from runtime import settings
from runtime.connection import Client, connect
from runtime.embedded import EmbeddedStore
from tests.eventually import eventually
from tests.integration.ingest_door import KEYS, no_logging, settings_of
from tests.integration.replicated_pair import Pair, replicating

KEY: Final = partition_keys("t").day_keys
TODAY: Final = local_day(1_767_254_400_000)
NOON_MS: Final = day_start_ms(TODAY) + DAY_MS // 2
DAYS: Final = [day_name(TODAY - ago) for ago in (5, 4, 3, 0)]
KEPT: Final = set(DAYS[2:])
SECRET: Final = b"sealed-key-of-"


@pytest.fixture
async def store(own_store: EmbeddedStore) -> AsyncIterator[Client]:
    client = connect(own_store.url)
    await client.execute_command("CONFIG", "SET", "aof-use-rdb-preamble", "no")
    for day in DAYS:
        await client.execute_command("HSET", KEY, day, SECRET + day.encode())
    yield client
    await client.aclose()


def written(own_store: EmbeddedStore) -> bytes:
    """All that the store's files hold."""
    folder = Path(own_store.url.removeprefix("unix://")).parent
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def fields(store: Client) -> set[str]:
    return {name.decode() for name in await store.execute_command("HKEYS", KEY)}


class DiedError(Exception):
    """The worker's end."""


class Watched:
    """The way to the store: what is asked, and what fails."""

    def __init__(self, store: Client, fails: dict[str, Exception] | None = None) -> None:
        self.store = store
        self.asked: list[str] = []
        self.fails = fails or {}

    async def execute_command(self, *command: Any) -> Any:
        self.asked.append(command[0])
        if command[0] in self.fails:
            raise self.fails[command[0]]
        return await self.store.execute_command(*command)


async def rewritten(store: Store) -> bool:
    """Whether no rewrite is under way."""
    return not (await store.execute_command("INFO", "persistence"))["aof_rewrite_in_progress"]


async def until_done(eraser: Eraser, store: Client) -> None:
    """Rounds of housekeeping until no rewrite is due."""

    async def done() -> bool:
        await eraser.round(now_ms=NOON_MS, texts_days=3)
        return REWRITE not in await fields(store)

    await eventually(done)


async def test_what_is_past_its_retention_is_gone_from_store_and_files(store: Client, own_store: EmbeddedStore) -> None:
    before = written(own_store)
    assert all(SECRET + day.encode() in before for day in DAYS), "the look at the files would find it"
    await until_done(Eraser(store, KEY), store)
    assert await fields(store) == KEPT
    after = written(own_store)
    assert {day for day in DAYS if SECRET + day.encode() in after} == KEPT


async def test_the_last_instant_of_the_retention_counts_to_it(store: Client) -> None:
    eraser = Eraser(store, KEY)
    midnight_ms = day_start_ms(TODAY + 1)
    await eraser.round(now_ms=midnight_ms - 1, texts_days=3)
    assert DAYS[2] in await fields(store)
    await eraser.round(now_ms=midnight_ms, texts_days=3)
    assert DAYS[2] not in await fields(store)


async def test_another_retention_counts_at_once(store: Client) -> None:
    await Eraser(store, KEY).round(now_ms=NOON_MS, texts_days=4)
    assert await fields(store) - {REWRITE} == set(DAYS[1:])
    await Eraser(store, KEY).round(now_ms=NOON_MS, texts_days=400)
    assert await fields(store) - {REWRITE} == set(DAYS[1:])


async def test_where_nothing_is_due_nothing_is_written_anew(store: Client) -> None:
    watched = Watched(store)
    eraser = Eraser(watched, KEY)
    await until_done(eraser, store)
    assert watched.asked.count("BGREWRITEAOF") == 1
    watched.asked.clear()
    await eraser.round(now_ms=NOON_MS, texts_days=3)
    assert watched.asked == ["HKEYS"]


@pytest.mark.parametrize("dies_at", ["HDEL", "INFO", "BGREWRITEAOF"])
async def test_a_worker_that_dies_between_erasing_and_rewriting_leaves_the_rewrite_to_the_next(
    dies_at: str, store: Client, own_store: EmbeddedStore
) -> None:
    with pytest.raises(DiedError):
        await Eraser(Watched(store, {dies_at: DiedError()}), KEY).round(now_ms=NOON_MS, texts_days=3)
    assert SECRET + DAYS[0].encode() in written(own_store)
    assert REWRITE in await fields(store)
    await until_done(Eraser(store, KEY), store)
    assert {day for day in DAYS if SECRET + day.encode() in written(own_store)} == KEPT


async def test_a_store_that_dies_while_it_rewrites_is_asked_again(store: Client, own_store: EmbeddedStore) -> None:
    watched = Watched(store)
    eraser = Eraser(watched, KEY)
    await eraser.round(now_ms=NOON_MS, texts_days=3)
    assert "BGREWRITEAOF" in watched.asked
    own_store.kill()
    with pytest.raises(StoreConnectionError):
        await eraser.round(now_ms=NOON_MS, texts_days=3)
    await own_store.start()
    watched.asked.clear()
    await until_done(eraser, store)
    assert "BGREWRITEAOF" in watched.asked
    assert SECRET + DAYS[0].encode() not in written(own_store)


async def test_a_rewrite_that_began_before_the_erasure_does_not_count(store: Client, own_store: EmbeddedStore) -> None:
    await store.execute_command("CONFIG", "SET", "rdb-key-save-delay", "1000000")
    await store.execute_command("BGREWRITEAOF")
    watched = Watched(store)
    eraser = Eraser(watched, KEY)
    for _ in range(3):
        await eraser.round(now_ms=NOON_MS, texts_days=3)
    assert REWRITE in await fields(store)
    assert "BGREWRITEAOF" not in watched.asked
    await store.execute_command("CONFIG", "SET", "rdb-key-save-delay", "0")
    await until_done(eraser, store)
    assert "BGREWRITEAOF" in watched.asked
    assert SECRET + DAYS[0].encode() not in written(own_store)


@pytest.mark.parametrize(
    "error", ["ERR Background append only file rewriting already in progress", "ERR unknown command 'BGREWRITEAOF'"]
)
async def test_a_refused_rewrite_stays_due(error: str, store: Client) -> None:
    watched = Watched(store, {"BGREWRITEAOF": ResponseError(error)})
    eraser = Eraser(watched, KEY)
    for _ in range(3):
        await eraser.round(now_ms=NOON_MS, texts_days=3)
    assert watched.asked.count("BGREWRITEAOF") == 3
    assert await fields(store) == KEPT | {REWRITE}
    watched.fails.clear()
    await until_done(eraser, store)


class Servers(Watched):
    """A store of several servers, its primary first, as all that list them do."""

    others: Sequence[Store] = ()

    async def servers(self) -> Sequence[Store]:
        return [self, *self.others]


class Replicated:
    """A primary, its replica, and the store that they are together."""

    def __init__(self, pair: Pair, primary: Client, replica: Client) -> None:
        self.pair = pair
        self.primary = primary
        self.replica = replica
        self.store = Servers(primary)
        self.store.others = [replica]

    async def rewrites(self) -> int:
        """How often the replica was asked for one."""
        said: dict[str, Any] = await self.replica.execute_command("INFO", "commandstats")
        return said.get("cmdstat_bgrewriteaof", {"calls": 0})["calls"]

    async def is_in_step(self) -> bool:
        """Whether the replica has all that the primary has written."""
        one, other = [await server.execute_command("INFO", "replication") for server in (self.primary, self.replica)]
        return one["master_repl_offset"] == other["slave_repl_offset"]


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Replicated]:
    async with replicating(tmp_path) as pair:
        primary, replica = connect(pair.primary.url), connect(pair.replica.url)
        async with aclosing(primary), aclosing(replica):
            await primary.execute_command("CONFIG", "SET", "min-replicas-to-write", "0")  # the link will be cut
            await primary.execute_command("HSET", KEY, DAYS[0], "sealed", DAYS[3], "sealed")
            yield Replicated(pair, primary, replica)


async def rounds(eraser: Eraser) -> None:
    for _ in range(3):
        await eraser.round(now_ms=NOON_MS, texts_days=3)


async def test_a_replica_that_refuses_keeps_no_other_server_from_its_rewrite(both: Replicated) -> None:
    await both.pair.tell(both.pair.replica, "CONFIG", "SET", "requirepass", "secret")
    stranger = connect(both.pair.replica.url)
    async with aclosing(stranger), aclosing(connect(both.pair.replica.url.replace("://", "://:secret@"))) as known:
        both.store.others, both.replica = [stranger], known
        eraser = Eraser(both.store, KEY)
        await rounds(eraser)
        assert both.store.asked.count("BGREWRITEAOF") == 1
        assert await fields(both.primary) == {DAYS[3], REWRITE}, "the replica's file is still to be written anew"
        assert await both.rewrites() == 0
        await known.execute_command("CONFIG", "SET", "requirepass", "")
        await until_done(eraser, both.primary)
        assert await both.rewrites() == 1


async def test_a_replica_that_has_not_heard_of_the_erasure_counts_for_nothing(both: Replicated) -> None:
    eraser = Eraser(both.store, KEY)
    await until_done(eraser, both.primary)  # of this one it has, which says nothing of the next
    both.pair.cut()  # and nobody is told: the link is up
    await both.primary.execute_command("HSET", KEY, DAYS[1], "sealed")
    await eraser.round(now_ms=NOON_MS, texts_days=3)
    await eventually(partial(rewritten, both.primary))
    await rounds(eraser)
    assert both.store.asked.count("BGREWRITEAOF") == 2, "the primary's is written anew all the same"
    assert await both.rewrites() == 1
    assert REWRITE in await fields(both.primary)
    both.pair.mend()
    await until_done(eraser, both.primary)
    assert await both.rewrites() == 2


@pytest.mark.parametrize("more", [0, 1])
async def test_a_replica_need_not_have_heard_of_what_came_after_the_erasure(both: Replicated, more: int) -> None:
    eraser = Eraser(both.store, KEY)
    await eraser.round(now_ms=NOON_MS, texts_days=3)
    await eventually(both.is_in_step)
    both.pair.cut()
    for _ in range(more):
        await both.primary.execute_command("SET", "more", "")

    async def asked() -> bool:
        await eraser.round(now_ms=NOON_MS, texts_days=3)
        return await both.rewrites() == 1

    await eventually(asked)


async def test_a_worker_that_knows_no_primary_of_a_replica_waits_for_it(both: Replicated) -> None:
    """As in a Cluster, one of whose primaries is away."""
    await both.primary.execute_command("HSET", KEY, REWRITE, DAYS[0])
    both.store.fails["INFO"] = StoreConnectionError("away")
    await rounds(Eraser(both.store, KEY))
    assert await both.rewrites() == 0
    assert REWRITE in await fields(both.primary)


async def test_no_other_is_asked_in_the_erasure_s_own_round(store: Client) -> None:
    """A replica may not have heard of it yet."""
    watched, replica = Servers(store, {"INFO": StoreConnectionError("away")}), Watched(store)
    watched.others = [replica]
    await Eraser(watched, KEY).round(now_ms=NOON_MS, texts_days=3)
    assert replica.asked == []


async def test_an_erasure_that_another_worker_made_meanwhile_counts(store: Client, own_store: EmbeddedStore) -> None:
    first = Eraser(store, KEY)
    await first.round(now_ms=NOON_MS, texts_days=4)  # and it has lost the partition before the rewrite was done
    await eventually(partial(rewritten, store))
    with pytest.raises(DiedError):
        await Eraser(Watched(store, {"BGREWRITEAOF": DiedError()}), KEY).round(now_ms=NOON_MS, texts_days=3)
    assert SECRET + DAYS[1].encode() in written(own_store)
    await until_done(first, store)
    assert {day for day in DAYS if SECRET + day.encode() in written(own_store)} == KEPT


async def test_a_key_that_came_back_is_erased_from_the_files_again(store: Client, own_store: EmbeddedStore) -> None:
    """As where a replica that had not heard of it took over."""
    eraser = Eraser(store, KEY)
    await eraser.round(now_ms=NOON_MS, texts_days=3)
    await eventually(partial(rewritten, store))
    await store.execute_command("HSET", KEY, DAYS[0], SECRET + DAYS[0].encode())
    await until_done(eraser, store)
    assert {day for day in DAYS if SECRET + day.encode() in written(own_store)} == KEPT


async def test_an_erasure_of_the_same_days_by_another_worker_is_asked_for_anew(store: Client) -> None:
    watched = Watched(store)
    eraser = Eraser(watched, KEY)
    await until_done(eraser, store)
    await store.execute_command("HSET", KEY, REWRITE, day_name(TODAY - 3))
    await until_done(eraser, store)
    assert watched.asked.count("BGREWRITEAOF") == 2


async def test_a_store_without_an_append_only_file_has_nothing_to_write_anew(redis: Client) -> None:
    await redis.execute_command("CONFIG", "SET", "appendonly", "no")
    try:
        await redis.execute_command("HSET", KEY, DAYS[0], "sealed", DAYS[3], "sealed")
        watched = Watched(redis)
        await Eraser(watched, KEY).round(now_ms=NOON_MS, texts_days=3)
        assert "BGREWRITEAOF" not in watched.asked
        assert await fields(redis) == {DAYS[3]}
    finally:
        await redis.execute_command("CONFIG", "SET", "appendonly", "yes")


async def test_the_worker_of_the_first_partition_keeps_the_policy_s_retention(
    redis: Client, server: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = settings_of(tmp_path, server.url, process_port=unused_port())
    monkeypatch.setattr(settings, "load", lambda: msgspec.structs.replace(current, drain_s=0.1))
    monkeypatch.setattr(app, "start_logging", no_logging)
    monkeypatch.setattr("processor.housekeeping.HOUSEKEEPING_S", 0.05)
    stop = asyncio.Event()
    role = asyncio.create_task(app.serve(stop))
    key = KEYS[0].day_keys

    async def stands(day: str) -> bool:
        if role.done():
            role.result()
        return bool(await redis.execute_command("HEXISTS", key, day))

    today = local_day(time.time_ns() // 1_000_000)
    old = day_name(today - 4)

    async def erased() -> bool:
        return not await stands(old) and not await stands(REWRITE)

    try:
        await eventually(lambda: stands(day_name(today)))
        await redis.execute_command("HSET", key, old, "whatever")
        await eventually(erased)
        assert await stands(day_name(today))
    finally:
        stop.set()
        await role
    assert role.result() == 0
