"""Durability is what the store really does: a role does not start on less than its settings promise."""

from collections.abc import AsyncIterator

import pytest

from runtime import durability
from runtime.connection import Client, connect
from runtime.embedded import EmbeddedStore
from runtime.errors import StartupError
from runtime.settings import Settings

FSYNC = Settings(durability="fsync")
MEMORY = Settings(durability="memory")


@pytest.fixture
async def client(own_store: EmbeddedStore) -> AsyncIterator[Client]:
    found = connect(own_store.url)
    yield found
    await found.aclose()


async def test_the_embedded_store_keeps_its_promise(client: Client) -> None:
    await durability.check(client, FSYNC)
    await durability.check(client, MEMORY)


@pytest.mark.parametrize(
    ("name", "value"),
    [("appendfsync", "everysec"), ("appendfsync", "no"), ("appendonly", "no"), ("no-appendfsync-on-rewrite", "yes")],
)
async def test_a_store_that_does_not_sync_is_refused_at_level_fsync_only(name: str, value: str, client: Client) -> None:
    await client.execute_command("CONFIG SET", name, value)
    with pytest.raises(StartupError, match=name):
        await durability.check(client, FSYNC)
    await durability.check(client, MEMORY)


async def test_a_store_that_evicts_is_refused_unless_nothing_bounds_it(client: Client) -> None:
    await client.execute_command("CONFIG SET", "maxmemory-policy", "allkeys-lru")
    with pytest.raises(StartupError, match="set it to noeviction"):
        await durability.check(client, MEMORY)
    await client.execute_command("CONFIG SET", "maxmemory", "0")
    await durability.check(client, MEMORY)


async def test_a_store_that_hides_its_settings_is_refused(client: Client, own_store: EmbeddedStore) -> None:
    await client.execute_command("ACL SETUSER", "shy", "on", "nopass", "~*", "+@all", "-config")
    shy = connect(own_store.url.replace("unix://", "unix://shy:x@"))
    with pytest.raises(StartupError, match=r"allow config\|get"):
        await durability.check(shy, MEMORY)
    await shy.aclose()


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("redis", "7.0.0"),
        ("redis", "7.0.15"),
        ("redis", "8.2.3"),
        ("redis", "10.0"),
        ("valkey", "8.0.1"),
        ("valkey", "9"),
    ],
)
def test_a_version_at_or_above_the_floor_is_taken(name: str, version: str) -> None:
    durability.check_version(name, version)


@pytest.mark.parametrize(
    ("name", "version"),
    [("redis", "6.2.14"), ("redis", "0"), ("redis", ""), ("redis", "unknown"), ("valkey", "7.2.5"), ("valkey", "7")],
)
def test_a_version_below_it_is_refused(name: str, version: str) -> None:
    with pytest.raises(StartupError, match="too old"):
        durability.check_version(name, version)


@pytest.mark.parametrize(("name", "version"), [("redis", "7"), ("valkey", "8"), ("valkey", "8.0-rc1")])
def test_a_floor_written_shorter_is_the_floor(name: str, version: str) -> None:
    durability.check_version(name, version)


def test_a_server_of_another_name_is_refused() -> None:
    with pytest.raises(StartupError, match="keydb"):
        durability.check_version("keydb", "6.3.4")
