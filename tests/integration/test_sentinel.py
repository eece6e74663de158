"""A pair under three sentinels: whom the sentinels name, and whom none of us believes any more."""

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import RedisError

from api.seals import Seals
from api.topology import MasterWires, wires_to
from lua.library import ensure_loaded
from lua.store import servers
from processor.erasure import REWRITE, Eraser
from runtime import durability
from runtime.address import store_address
from runtime.connection import STORE_ERRORS, NotReplicatedError, StoreConnectionError, Wire
from runtime.doctor.command import diagnosed, told
from runtime.errors import StartupError
from runtime.sentinel import MasterWire, Sentinels
from runtime.settings import Settings
from runtime.topology import client_to, wire_to
from tests.eventually import eventually
from tests.system.house import until
from tests.system.sentinels import Pair, pair


@pytest.fixture
def watched() -> Iterator[Pair]:
    """A fresh pair."""
    with tempfile.TemporaryDirectory(prefix="icaze-") as folder, pair(Path(folder) / "p", fsync=False) as formed:
        yield formed


@pytest.fixture
async def wire(watched: Pair) -> AsyncIterator[MasterWire]:
    """A wire that has its connection."""
    made = wire_to(watched.url)
    assert isinstance(made, MasterWire)
    assert await made.call(["SET", "epochs_fed", 1]) == [b"OK"]
    yield made
    await made.close()


async def test_after_a_failover_all_three_kinds_write_to_the_new_master(watched: Pair, wire: MasterWire) -> None:
    client, wires = client_to(watched.url), wires_to(watched.url)
    assert (await client.execute_command("GET", "epochs_fed"), await wires.read(["GET", "epochs_fed"])) == (
        b"1",
        [b"1"],
    )
    old = watched.master
    old.signal(signal.SIGSTOP)
    await asyncio.to_thread(until, lambda: watched.master is not old, "a failover")
    old.signal(signal.SIGCONT)
    written = 0

    async def write() -> bool:
        nonlocal written
        try:
            await wire.execute_command("INCR", "by_wire")
            await client.execute_command("INCR", "by_client")
            await wires.write(["INCR", "by_api"])
        except (RedisError, OSError):
            return False
        written += 1
        return written == 50

    await eventually(write, within_s=20)
    new = watched.master.client
    assert [int(new.get(name)) >= 50 for name in ("by_wire", "by_client", "by_api")] == [True] * 3
    await client.aclose()
    await wires.close()


async def test_one_sentinel_of_three_is_not_believed(watched: Pair, wire: MasterWire) -> None:
    for watcher in watched.watchers[:2]:
        watcher.kill()
        watcher.wait()
    with pytest.raises(STORE_ERRORS, match="1 of 3 sentinels"):
        await until_refused(wire)
    client = client_to(watched.url)
    with pytest.raises(STORE_ERRORS):
        await client.execute_command("PING")
    await client.aclose()


async def until_refused(wire: MasterWire) -> None:
    """Write until the sentinels' last word is too old."""
    for _ in range(200):
        await wire.call(["INCR", "epochs_fed"])
        await asyncio.sleep(0.02)


async def test_a_server_that_is_no_master_is_left_at_once(watched: Pair) -> None:
    master, other = watched.servers
    other.client.execute_command("REPLICAOF", "NO", "ONE")
    master.client.execute_command("REPLICAOF", "127.0.0.1", other.port)
    wire, wires = wire_to(watched.url), wires_to(watched.url)
    assert isinstance(wires, MasterWires)
    with pytest.raises(STORE_ERRORS, match="is a slave"):
        await wire.call(["GET", "epochs_fed"])
    with pytest.raises(STORE_ERRORS):
        await wires.read(["GET", "epochs_fed"])
    await wire.close()
    await wires.close()


async def test_the_replica_is_among_the_servers(watched: Pair) -> None:
    client = client_to(watched.url)
    roles = [(await server.execute_command("ROLE"))[0] for server in await servers(client)]
    assert roles == [b"master", b"slave"]
    await client.aclose()


async def test_a_replica_that_is_gone_is_still_among_the_servers_and_waited_for(watched: Pair) -> None:
    client = client_to(watched.url)
    await client.execute_command("HSET", "day_keys:{t}", "20200101", "old", "20990101", "new")
    replica = watched.servers[1]
    replica.kill()
    await asyncio.to_thread(until, lambda: watched.servers[0].client.info()["connected_slaves"] == 0, "the lost link")
    assert len(await servers(client)) == 2
    eraser = Eraser(client, "day_keys:{t}")

    async def is_due(*, rounds: int = 1) -> bool:
        for _ in range(rounds):
            await eraser.round(now_ms=1_700_000_000_000, texts_days=3)
            await asyncio.sleep(0.05)
        return bool(await client.execute_command("HEXISTS", "day_keys:{t}", REWRITE))

    assert await is_due(rounds=20), "the replica's file still holds the key"
    replica.start()
    replica.client.execute_command("REPLICAOF", "127.0.0.1", watched.servers[0].port)  # as the sentinels would, later

    async def is_done() -> bool:
        return not await is_due()

    await eventually(is_done, within_s=20)
    assert replica.client.info("commandstats")["cmdstat_bgrewriteaof"]["calls"] == 1
    await client.aclose()


def saying(monkeypatch: pytest.MonkeyPatch, *replies: Any) -> Sentinels:
    """Three sentinels that say so, one after the other, whatever they are asked."""
    sentinels, said = Sentinels(store_address("redis+sentinel://a,b,c/icaze")), iter(replies)

    async def told(_: Sentinels, __: Wire, ___: str) -> Any:
        return next(said)

    monkeypatch.setattr(Sentinels, "_told", told)
    return sentinels


async def test_a_replica_that_one_sentinel_alone_knows_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = [b"ip", b"10.0.0.1", b"port", b"1"], [b"ip", b"10.0.0.2", b"port", b"2"]
    sentinels = saying(monkeypatch, [first], [first, second], StoreConnectionError("away"))
    assert await sentinels.replicas() == ["10.0.0.1:1", "10.0.0.2:2"]


async def test_whoever_knows_of_the_latest_failover_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    said = [
        [b"ip", b"10.0.0.1", b"port", b"%d" % at, b"config-epoch", b"%d" % at, b"flags", b"master"] for at in (9, 10, 2)
    ]
    assert await saying(monkeypatch, *said).master() == "redis://10.0.0.1:10/0"


async def test_where_most_sentinels_are_away_nobody_says_who_the_servers_are(watched: Pair) -> None:
    client = client_to(watched.url)
    await client.execute_command("PING")
    for watcher in watched.watchers[:2]:
        watcher.kill()
        watcher.wait()
    with pytest.raises(STORE_ERRORS, match="1 of 3 sentinels"):
        await servers(client)
    await client.aclose()


async def test_what_the_replica_lacks_is_not_told(
    watched: Pair, wire: MasterWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.connection.WAIT_S", 0.3)
    client, sealed = client_to(watched.url), wires_to(watched.url, seals=Seals(1))
    await ensure_loaded(client)
    assert await wire.call(["SET", "epochs_fed", 2], replicas=1) == [b"OK"]
    assert await sealed.read(["GET", "epochs_fed"]) == [b"2"]
    watched.servers[1].signal(signal.SIGSTOP)
    with pytest.raises(NotReplicatedError, match="0 of 1"):
        await wire.call(["SET", "epochs_fed", 3], replicas=1)
    with pytest.raises(NotReplicatedError, match="0 of 1"):
        await sealed.read(["GET", "epochs_fed"])
    watched.servers[1].signal(signal.SIGCONT)
    assert await wire.call(["SET", "epochs_fed", 4], replicas=1) == [b"OK"]
    assert await sealed.read(["GET", "epochs_fed"]) == [b"4"]
    await client.aclose()
    await sealed.close()


async def test_a_replica_that_would_not_sync_as_the_level_says_is_found_at_the_start(watched: Pair) -> None:
    client = client_to(watched.url)
    await durability.check(client, Settings(durability="memory"))
    for server in watched.servers:
        server.client.config_set("appendfsync", "always")
    await durability.check(client, Settings())
    watched.servers[1].client.config_set("appendfsync", "everysec")
    with pytest.raises(StartupError, match="appendfsync everysec"):
        await durability.check(client, Settings())
    watched.servers[1].kill()
    await durability.check(client, Settings())
    await client.aclose()


async def test_doctor_names_a_replica_that_no_role_would_start_with(
    watched: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.doctor.clock.SAMPLES", 2)
    replica = watched.servers[1]
    for server in watched.servers:
        server.client.config_set("appendfsync", "always")
    found = await diagnosed(watched.url, "fsync", 1)
    assert found.safe, told(found)
    replica.client.config_set("appendonly", "no")
    found = await diagnosed(watched.url, "fsync", 1)
    unsafe = [finding for finding in found.findings if finding.severity == "unsafe"]
    assert [finding.name for finding in unsafe] == [f"{replica.host} appendonly"], told(found)
    assert (found.safe, found.gives) == (False, "memory")
    assert replica.host in told(found)
    assert (await diagnosed(watched.url, "memory", 1)).safe
    replica.client.config_set("requirepass", "secret")
    found = await diagnosed(watched.url, "fsync", 1)
    assert found.safe
    assert [finding.severity for finding in found.findings if finding.name == f"{replica.host} replica"] == ["warn"]
