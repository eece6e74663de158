"""Stores for tests: a real server for the whole session, emptied before each test, and the fake one for speed."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from fakeredis import FakeAsyncRedis

from lua.library import ensure_loaded
from lua.store import Store
from runtime.connection import Client, connect
from runtime.embedded import EmbeddedStore


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedStore]:
    """One real server, in memory only: durability has tests of its own."""
    with tempfile.TemporaryDirectory(prefix="icaze-") as folder:
        store = EmbeddedStore(Path(folder), fsync=False, memory_mb=512)
        asyncio.run(store.start())
        yield store
        asyncio.run(store.stop())


@pytest.fixture
async def redis(server: EmbeddedStore) -> AsyncIterator[Client]:
    """A client of the real server: empty, with the library loaded."""
    client = connect(server.url)
    await client.execute_command("FLUSHALL")
    await client.execute_command("FUNCTION", "FLUSH")
    await ensure_loaded(client)
    yield client
    await client.aclose()


@pytest.fixture
async def fake() -> AsyncIterator[Store]:
    """The fake server with the library loaded."""
    client = FakeAsyncRedis()
    await ensure_loaded(client)
    yield client
    await client.aclose()


@pytest.fixture(params=["real", "fake"])
def store(request: pytest.FixtureRequest) -> Store:
    """Both servers in turn, for what must behave alike on each."""
    return request.getfixturevalue("redis" if request.param == "real" else "fake")
