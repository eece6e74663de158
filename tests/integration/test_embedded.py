"""The embedded store: started, taken over, killed and started again, and what is said where it cannot start."""

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime import durability, embedded
from runtime.connection import connect
from runtime.embedded import EmbeddedStore
from runtime.errors import StartupError
from runtime.settings import Settings


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder with a path short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="icaze-") as name:
        yield Path(name)


async def command(url: str, *words: str) -> object:
    client = connect(url)
    try:
        return await client.execute_command(*words)
    finally:
        await client.aclose()


async def test_it_starts_on_a_socket_of_its_owner_alone_and_stops(folder: Path) -> None:
    store = EmbeddedStore(folder, memory_mb=64)
    await store.start()
    path = embedded.socket_path(folder)
    assert path.is_relative_to(folder)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "store").stat().st_mode) == 0o700
    assert await command(store.url, "PING")
    assert await command(store.url, "CONFIG GET", "maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    await store.stop()
    with pytest.raises(Exception, match=r"store\.sock"):
        await command(store.url, "PING")


async def test_what_was_acknowledged_survives_a_killed_server(folder: Path) -> None:
    store = EmbeddedStore(folder, memory_mb=64)
    await store.start()
    for n in range(100):
        await command(store.url, "XADD", "inbound", "*", "m", str(n))
    store.kill()
    await store.start()
    assert await command(store.url, "XLEN", "inbound") == 100
    await store.stop()


async def test_a_cut_tail_of_the_file_costs_the_last_write_only(folder: Path) -> None:
    store = EmbeddedStore(folder, memory_mb=64)
    await store.start()
    for n in range(10):
        await command(store.url, "XADD", "inbound", "*", "m", str(n))
    store.kill()
    [file] = (folder / "store" / "appendonlydir").glob("*.incr.aof")
    os.truncate(file, file.stat().st_size - 5)
    await store.start()
    assert await command(store.url, "XLEN", "inbound") == 9
    await store.stop()


async def test_a_server_that_runs_already_is_taken_over_with_its_data(folder: Path) -> None:
    first = EmbeddedStore(folder, memory_mb=64)
    await first.start()
    await command(first.url, "SET", "a", "1")
    second = EmbeddedStore(folder, memory_mb=64)
    await second.start()
    assert second.pid is None
    assert await command(second.url, "GET", "a") == b"1"
    await second.stop()
    await first.stop()


async def test_a_taken_over_server_at_a_lower_level_is_refused_by_the_check_that_follows(folder: Path) -> None:
    lax = EmbeddedStore(folder, fsync=False, memory_mb=64)
    await lax.start()
    strict = EmbeddedStore(folder, fsync=True, memory_mb=64)
    await strict.start()
    client = connect(strict.url)
    with pytest.raises(StartupError, match="appendfsync everysec"):
        await durability.check(client, Settings(durability="fsync"))
    await client.aclose()
    await strict.stop()
    await lax.stop()


async def test_a_socket_left_behind_is_no_hindrance(folder: Path) -> None:
    store = EmbeddedStore(folder, memory_mb=64)
    await store.start()
    store.kill()
    assert embedded.socket_path(folder).exists()
    await store.start()
    await store.stop()


async def test_a_path_too_long_for_a_socket_gets_one_elsewhere(folder: Path) -> None:
    deep = folder / ("d" * 120)
    path = embedded.socket_path(deep)
    assert len(str(path)) <= embedded.MAX_SOCKET_PATH
    assert path != embedded.socket_path(folder / ("d" * 121))
    store = EmbeddedStore(deep, memory_mb=64)
    await store.start()
    assert await command(store.url, "PING")
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    await store.stop()
    path.parent.rmdir()


async def test_a_data_folder_that_cannot_be_made_is_named(folder: Path) -> None:
    file = folder / "file"
    file.touch()
    with pytest.raises(StartupError, match=r"data folder .*/file/store: "):
        await EmbeddedStore(file).start()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
async def test_a_data_folder_that_cannot_be_written_is_named(folder: Path) -> None:
    (folder / "store").mkdir(mode=0o500)
    with pytest.raises(StartupError, match="not writable"):
        await EmbeddedStore(folder).start()


async def test_a_server_that_cannot_start_says_why(folder: Path) -> None:
    (folder / "store" / "appendonlydir").mkdir(parents=True)
    (folder / "store" / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    with pytest.raises(StartupError, match=r"the store ended at start: .*manifest"):
        await EmbeddedStore(folder).start()


def program(folder: Path, says: str) -> Path:
    """A server binary that only tells its version."""
    path = folder / "server"
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("says", "why"),
    [
        ("Redis server v=6.2.7 sha=00000000:0 malloc=jemalloc-5.1.0 bits=64", "redis 6.2.7 is too old"),
        ("Valkey server v=7.2.5 sha=00000000:0", "valkey 7.2.5 is too old"),
        ("what do I know", "does not tell its version"),
        ("", "does not tell its version"),
        ("KeyDB server v=6.3.4 sha=00000000:0", "keydb"),
    ],
)
async def test_a_server_that_is_too_old_or_none_is_refused(folder: Path, says: str, why: str) -> None:
    with pytest.raises(StartupError, match=why):
        await EmbeddedStore(folder / "data", binary=program(folder, says)).start()


async def test_a_binary_that_is_not_there_or_cannot_run_is_named(folder: Path) -> None:
    with pytest.raises(StartupError, match="nowhere"):
        await EmbeddedStore(folder / "data", binary=Path("/nowhere/valkey-server")).start()
    file = folder / "text"
    file.write_text("no program")
    with pytest.raises(StartupError, match="text"):
        await EmbeddedStore(folder / "data", binary=file).start()


def test_without_a_wheel_a_server_on_the_path_serves_and_none_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_wheel(_: str) -> None:
        return None

    monkeypatch.setattr("importlib.util.find_spec", no_wheel)
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(StartupError, match="set ICAZE_REDIS_URL"):
        embedded.server_binary()
    server = program(folder, "Redis server v=7.0.15")
    server.rename(folder / "redis-server")
    assert embedded.server_binary() == folder / "redis-server"
    assert embedded.binary_version(folder / "redis-server") == ("redis", "7.0.15")


def environ_of(store: EmbeddedStore) -> list[bytes]:
    return Path(f"/proc/{store.pid}/environ").read_bytes().split(b"\0")


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="tells of processes as Linux does")
@pytest.mark.parametrize(("given", "expected"), [(None, "tcache_count=20000"), ("glibc.malloc.perturb=1", "perturb=1")])
async def test_the_allocator_is_set_unless_the_operator_sets_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, expected: str
) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    if given is not None:
        monkeypatch.setenv("GLIBC_TUNABLES", given)
    store = EmbeddedStore(folder, memory_mb=64)
    await store.start()
    environ = environ_of(store)
    await store.stop()
    assert [line for line in environ if line.startswith(b"GLIBC_TUNABLES=")] == [
        b"GLIBC_TUNABLES=glibc.malloc." + expected.encode()
    ]
