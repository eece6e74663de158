"""`icaze doctor`, each fault planted in a real server and found; a clock that jumps is a time source of the test's."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from bench.cluster import cluster
from icaze import main
from lua.library import LIBRARY, source
from runtime import lifecycle
from runtime.connection import Client, connect
from runtime.doctor import clock, hints
from runtime.doctor.clock import Clocks
from runtime.doctor.command import Diagnosis, diagnosed, told
from runtime.doctor.finding import Finding, Level
from runtime.durability import online_replicas
from runtime.embedded import EmbeddedStore
from tests.eventually import eventually
from tests.integration.replicated_pair import Server, replicating

OTHER_LIBRARY = f"#!lua name={LIBRARY}\nredis.register_function('f', function() return 1 end)"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.doctor.clock.SAMPLES", 2)
    monkeypatch.setattr("runtime.doctor.clock.EVERY_S", 0.01)


@pytest.fixture
async def client(own_store: EmbeddedStore) -> AsyncIterator[Client]:
    found = connect(own_store.url)
    yield found
    await found.aclose()


def of(found: Diagnosis, name: str) -> Finding:
    """The finding of a name."""
    return next(finding for finding in found.findings if finding.name == name)


async def test_the_embedded_store_gives_what_up_promises(own_store: EmbeddedStore) -> None:
    found = await diagnosed(own_store.url, "fsync", 1)
    assert (found.safe, found.gives) == (True, "fsync")
    assert of(found, "library").seen == "missing"
    assert "fsync and gives fsync" in told(found)


@pytest.mark.parametrize(
    ("words", "name", "level", "gives"),
    [
        (("CONFIG", "SET", "appendfsync", "everysec"), "appendfsync", "fsync", "memory"),
        (("CONFIG", "SET", "appendonly", "no"), "appendonly", "fsync", "memory"),
        (("CONFIG", "SET", "no-appendfsync-on-rewrite", "yes"), "no-appendfsync-on-rewrite", "fsync", "memory"),
        (("CONFIG", "SET", "maxmemory-policy", "allkeys-lru"), "maxmemory-policy", "memory", None),
        (("FUNCTION", "LOAD", OTHER_LIBRARY), "library", "memory", None),
        ((), "replicas", "replicated", "fsync"),
        ((), "min-replicas-to-write", "replicated", "fsync"),
    ],
)
async def test_a_planted_fault_is_unsafe_and_says_what_to_change(
    words: tuple[str, ...], name: str, level: Level, gives: Level | None, client: Client, own_store: EmbeddedStore
) -> None:
    if words:
        await client.execute_command(*words)
    found = await diagnosed(own_store.url, level, 1)
    assert of(found, name).severity == "unsafe"
    assert of(found, name).change
    assert (found.safe, found.gives) == (False, gives)
    assert "UNSAFE" in told(found)


async def test_what_a_level_does_not_need_is_a_warning_there(client: Client, own_store: EmbeddedStore) -> None:
    await client.execute_command("CONFIG", "SET", "appendfsync", "everysec")
    found = await diagnosed(own_store.url, "memory", 1)
    assert (of(found, "appendfsync").severity, found.safe) == ("warn", True)


async def test_under_everysec_a_waitaof_that_proves_nothing_is_noticed(
    client: Client, own_store: EmbeddedStore
) -> None:
    """Measured on Valkey 9.1.2; Redis 7.0 has no WAITAOF, and Redis 8 waits for its sync."""
    if "valkey_version" not in await client.execute_command("INFO", "server"):
        pytest.skip("of Valkey")
    await client.execute_command("CONFIG", "SET", "appendfsync", "everysec")
    found = await diagnosed(own_store.url, "fsync", 1)
    assert of(found, "WAITAOF").severity == "unsafe"
    assert "before any sync" in of(found, "WAITAOF").change
    assert of(found, "sync").severity == "unsafe"


async def test_a_store_without_a_bound_and_tight_in_connections_is_warned_of(
    client: Client, own_store: EmbeddedStore
) -> None:
    await client.execute_command("CONFIG", "SET", "maxmemory", "0", "maxclients", "100", "lazyfree-lazy-expire", "no")
    found = await diagnosed(own_store.url, "fsync", 1)
    warned = {finding.name for finding in found.findings if finding.severity == "warn"}
    assert warned >= {"maxmemory", "maxclients", "lazyfree-lazy-expire"}
    assert found.safe


async def test_a_full_store_that_takes_no_write_is_unsafe(client: Client, own_store: EmbeddedStore) -> None:
    await client.execute_command("CONFIG", "SET", "maxmemory", "1")
    found = await diagnosed(own_store.url, "fsync", 1)
    assert of(found, "write").severity == "unsafe"


async def test_what_may_not_be_looked_at_is_named(client: Client, own_store: EmbeddedStore) -> None:
    await client.execute_command(
        "ACL", "SETUSER", "shy", "on", ">x", "~*", "+@all", "-config", "-function|list", "-time"
    )
    found = await diagnosed(own_store.url.replace("unix://", "unix://shy:x@"), "fsync", 1)
    assert of(found, "rights").seen == "denied: config|get, function|list, time"
    assert "shy:***@" in found.store
    assert not found.safe


async def test_a_pair_in_step_gives_replicated_and_a_cut_link_does_not(tmp_path: Path) -> None:
    async with replicating(tmp_path) as pair:
        found = await diagnosed(pair.primary.url, "replicated", 1)
        assert (found.safe, found.gives) == (True, "replicated"), told(found)
        assert of(found, "WAIT").seen.startswith("1 replicas in ")
        pair.cut()
        found = await diagnosed(pair.primary.url, "replicated", 1)
        assert of(found, "WAIT").severity == "unsafe"
        assert (found.safe, found.gives) == (False, "fsync")
        await pair.tell(pair.primary, "SET", "big", "x" * (2 << 20))
        found = await diagnosed(pair.primary.url, "fsync", 1)
        assert of(found, "lag").severity == "warn"
        assert found.safe


async def test_more_replicas_than_are_waited_for_are_warned_of(tmp_path: Path) -> None:
    async with replicating(tmp_path) as pair:
        third = Server(tmp_path / "third")
        try:
            await eventually(lambda: pair.answers(third))
            await pair.tell(third, "REPLICAOF", "127.0.0.1", pair.primary.port)

            async def are_both_online() -> bool:
                info: Any = await pair.tell(pair.primary, "INFO", "replication")
                return online_replicas(info) == 2

            await eventually(are_both_online)
            found = await diagnosed(pair.primary.url, "replicated", 1)
            assert (of(found, "replicas").severity, found.safe) == ("warn", True)
            assert "ICAZE_REPLICAS=2" in of(found, "replicas").change
            for found in (
                await diagnosed(pair.primary.url, "replicated", 2),
                await diagnosed(pair.primary.url, "fsync", 1),
            ):
                assert of(found, "replicas").severity == "ok"
        finally:
            third.kill()


async def test_every_primary_of_a_cluster_is_looked_at(tmp_path: Path) -> None:
    with cluster(tmp_path / "three", primaries=3) as three:
        for server in three.primaries:
            server.client.execute_command("FUNCTION", "LOAD", source())
        found = await diagnosed(three.url, "fsync", 1)
        assert (found.safe, found.gives) == (True, "fsync")
        assert len({finding.name.partition(" ")[0] for finding in found.findings}) == 3
        three.primaries[1].client.config_set("appendfsync", "everysec")
        three.primaries[2].client.execute_command("FUNCTION", "FLUSH")
        found = await diagnosed(three.url, "fsync", 1)
        assert (found.safe, found.gives) == (False, "memory")
        unsafe = {finding.name for finding in found.findings if finding.severity == "unsafe"}
        assert f"{three.primaries[1].host} appendfsync" in unsafe
        assert {name.partition(" ")[0] for name in unsafe} == {three.primaries[1].host}
        assert of(found, f"{three.primaries[2].host} library").seen.startswith("missing")


async def test_a_replica_is_no_primary(tmp_path: Path) -> None:
    async with replicating(tmp_path) as pair:
        found = await diagnosed(pair.replica.url, "fsync", 1)
    assert of(found, "role").severity == "unsafe"
    assert (found.safe, found.gives) == (False, None)


def clocks(*, store: Callable[[int], float], wall: Callable[[int], float]) -> Clocks:
    """Clocks that read what they are told at each look; the monotonic one goes on by 0.1 s a look."""
    mono, at = itertools.count(), itertools.count()

    async def store_s() -> float:
        return store(next(at))

    looks = itertools.count()
    return Clocks(store_s, lambda: wall(next(looks)), lambda: next(mono) // 2 * 0.1)


async def looked(found: Clocks) -> dict[str, str]:
    """Severity by name."""
    return {finding.name: finding.severity for finding in clock.of_samples(await clock.sampled(found, every_s=0))}


async def test_clocks_that_go_alike_are_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.doctor.clock.SAMPLES", 6)
    fine = clocks(store=lambda n: 1000 + n * 0.1, wall=lambda n: 1000 + n * 0.1)
    assert await looked(fine) == {"clock skew": "ok", "store clock": "ok", "own clock": "ok"}


@pytest.mark.parametrize("step_s", [-3600.0, -0.2, 0.2, 60.0])
async def test_a_clock_that_jumps_is_unsafe(step_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.doctor.clock.SAMPLES", 6)

    def steady(n: int) -> float:
        return 1000 + n * 0.1

    def jumping(n: int) -> float:
        return steady(n) + (step_s if n >= 3 else 0)

    assert (await looked(clocks(store=jumping, wall=steady)))["store clock"] == "unsafe"
    assert (await looked(clocks(store=steady, wall=jumping)))["own clock"] == "unsafe"


@pytest.mark.parametrize(("skew_s", "severity"), [(0.5, "ok"), (-2.0, "warn"), (61.0, "unsafe"), (-3600.0, "unsafe")])
async def test_a_clock_that_differs_is_told(skew_s: float, severity: str) -> None:
    found = await looked(clocks(store=lambda n: 1000 + n * 0.1 + skew_s, wall=lambda n: 1000 + n * 0.1))
    assert found["clock skew"] == severity


async def test_a_jump_reaches_the_diagnosis(own_store: EmbeddedStore) -> None:
    jumping = clocks(store=lambda n: 1000 + 100.0 * n, wall=lambda n: 1000 + n * 0.1)
    found = await diagnosed(own_store.url, "fsync", 1, jumping)
    assert not found.safe
    assert "NTP" in of(found, "store clock").change


def test_the_machine_is_looked_at_where_the_store_is_on_it(tmp_path: Path) -> None:
    (tmp_path / "thp").write_text("[always] madvise never\n")
    (tmp_path / "over").write_text("0\n")
    found = hints.of_machine(is_ours=True, thp=tmp_path / "thp", overcommit=tmp_path / "over")
    assert [finding.severity for finding in found] == ["warn", "warn"]
    assert hints.of_machine(is_ours=False, thp=tmp_path / "thp", overcommit=tmp_path / "over") == []
    (tmp_path / "thp").write_text("always [madvise] never\n")
    assert hints.of_machine(is_ours=True, thp=tmp_path / "thp", overcommit=tmp_path / "nowhere") == []


async def test_the_command_says_it_by_its_exit_code(
    client: Client, own_store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(work: Callable[[asyncio.Event], Awaitable[int]]) -> int:
        async def done() -> int:
            return await work(asyncio.Event())

        return asyncio.run(done())

    monkeypatch.setattr(lifecycle, "run", run)
    monkeypatch.delenv("ICAZE_CONFIG", raising=False)
    monkeypatch.setenv("ICAZE_REDIS_URL", own_store.url)
    assert await asyncio.to_thread(main, ["doctor", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["configured"], said["gives"], said["safe"]) == ("fsync", "fsync", True)
    await client.execute_command("CONFIG", "SET", "appendonly", "no")
    assert await asyncio.to_thread(main, ["doctor"]) == 1
    assert "CONFIG SET appendonly yes" in capsys.readouterr().out
    monkeypatch.setenv("ICAZE_REDIS_URL", "unix:///nowhere")
    assert await asyncio.to_thread(main, ["doctor"]) == 1
    assert "icaze: store unix:///nowhere" in capsys.readouterr().err
