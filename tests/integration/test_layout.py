"""The layout of a store: fixed at its first start, and held against every later one."""

import os
import stat
from pathlib import Path

import msgspec
import pytest

from lua.keys import LAYOUT, partition_keys, tags
from permits.partition import Route
from runtime import layout
from runtime.connection import Client
from runtime.errors import StartupError
from runtime.settings import Settings
from tests.integration.ingest_door import ROUTE


async def test_the_first_start_stores_the_layout_and_no_key(redis: Client) -> None:
    keys = await layout.settle(redis, ROUTE)
    assert keys == [partition_keys(tag) for tag in tags(4)]
    raw: bytes = await redis.execute_command("GET", LAYOUT)
    stored = msgspec.json.decode(raw, type=layout.Layout)
    assert (stored.partitions, stored.tags, stored.route) == (4, tags(4), 3)
    assert b"k" * 16 not in raw
    assert await layout.settle(redis, ROUTE) == keys
    assert await redis.execute_command("GET", LAYOUT) == raw


async def test_another_number_of_partitions_is_refused_with_the_right_one(redis: Client) -> None:
    await layout.settle(redis, ROUTE)
    with pytest.raises(StartupError, match="ICAZE_PARTITIONS=4"):
        await layout.settle(redis, Route(key=b"k" * 32, partitions=64))


async def test_another_routing_key_is_refused(redis: Client) -> None:
    await layout.settle(redis, ROUTE)
    with pytest.raises(StartupError, match="ICAZE_ROUTING_KEY_FILE"):
        await layout.settle(redis, Route(key=b"x" * 32, partitions=4))


@pytest.mark.parametrize("change", [{"route": 1}, {"tags": ["a", "b", "c", "d"]}])
async def test_another_route_is_refused(change: dict[str, object], redis: Client) -> None:
    await layout.settle(redis, ROUTE)
    stored = msgspec.json.decode(await redis.execute_command("GET", LAYOUT))
    await redis.execute_command("SET", LAYOUT, msgspec.json.encode(stored | change))
    with pytest.raises(StartupError, match="other routes"):
        await layout.settle(redis, ROUTE)


@pytest.mark.parametrize("raw", ["", "not JSON", "{}"])
async def test_a_layout_that_cannot_be_read_is_refused(raw: str, redis: Client) -> None:
    await redis.execute_command("SET", LAYOUT, raw)
    with pytest.raises(StartupError, match="layout"):
        await layout.settle(redis, ROUTE)


def test_the_routing_key_lies_in_the_data_folder_or_where_the_settings_say(tmp_path: Path) -> None:
    assert layout.routing_key_path(Settings(data_dir=str(tmp_path))) == tmp_path / "keys" / "routing.key"
    assert layout.routing_key_path(Settings(routing_key_file="/run/routing.key")) == Path("/run/routing.key")


def test_a_made_key_is_secret_and_stays(tmp_path: Path) -> None:
    current = Settings(data_dir=str(tmp_path), partitions=4)
    path = layout.routing_key_path(current)
    layout.make_secret(path)
    content = path.read_bytes()
    assert len(content) == 32
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    layout.make_secret(path)
    assert path.read_bytes() == content
    assert layout.route(current).fingerprint == Route(key=content, partitions=4).fingerprint


def test_a_missing_key_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="ICAZE_ROUTING_KEY_FILE") as caught:
        layout.route(Settings(data_dir=str(tmp_path)))
    assert str(tmp_path / "keys" / "routing.key") in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 65])
def test_a_key_of_the_wrong_length_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "routing.key"
    path.write_bytes(content)
    with pytest.raises(StartupError, match="16 to 64 bytes"):
        layout.route(Settings(routing_key_file=str(path)))
