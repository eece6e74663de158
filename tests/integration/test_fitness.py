"""A role starts on a store that is fit and prepared, or says in a line why not."""

import pytest
from aiohttp.test_utils import unused_port

from lua import library
from lua.keys import PartitionKeys
from permits.partition import Route
from runtime.connection import Client, connect
from runtime.embedded import EmbeddedStore
from runtime.errors import StartupError
from runtime.fitness import load_functions, settled
from runtime.settings import Settings

ROUTE = Route(key=b"k" * 32, partitions=4)
MEMORY = Settings(durability="memory")


async def test_the_partitions_of_a_fit_store_are_told_and_each_preparation_is_made(
    redis: Client, server: EmbeddedStore
) -> None:
    made = list[list[PartitionKeys]]()

    async def prepare(_: Client, partitions: list[PartitionKeys]) -> None:
        made.append(partitions)

    partitions = await settled(redis, MEMORY, ROUTE, server.url, prepare, prepare)
    assert len(partitions) == 4
    assert made == [partitions, partitions]


async def test_a_store_that_promises_less_is_not_fit(redis: Client, server: EmbeddedStore) -> None:
    with pytest.raises(StartupError, match="appendfsync always"):
        await settled(redis, Settings(durability="fsync"), ROUTE, server.url)


async def test_functions_of_another_release_under_our_name_are_told(
    redis: Client, server: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await settled(redis, MEMORY, ROUTE, server.url, load_functions)
    ours = library.source()
    monkeypatch.setattr(library, "source", lambda: ours + "-- changed")
    with pytest.raises(StartupError, match="bump the version"):
        await settled(redis, MEMORY, ROUTE, server.url, load_functions)


async def test_a_store_that_is_away_is_named_without_its_password() -> None:
    url = f"redis://:secret@127.0.0.1:{unused_port()}"
    client = connect(url)
    with pytest.raises(StartupError, match=r"^store redis://.*127\.0\.0\.1") as caught:
        await settled(client, MEMORY, ROUTE, url)
    assert "secret" not in str(caught.value)
    await client.aclose()
