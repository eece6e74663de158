"""A store of a test's own, to be paused, killed and started again; one partition's replies and their dispatchers."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from tests.integration.dispatching import PARTITIONS, register


@pytest.fixture
async def own_store() -> AsyncIterator[EmbeddedStore]:
    """A started server that syncs every write to disk; stopped at the end where it still runs."""
    with tempfile.TemporaryDirectory(prefix="icaze-") as folder:
        store = EmbeddedStore(Path(folder), memory_mb=128)
        await store.start()
        yield store
        await store.stop()


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dispatchers trim and look again sooner."""
    monkeypatch.setattr("dispatch.ledger.TRIM_EVERY_S", 0.05)
    monkeypatch.setattr("dispatch.reply_lane.BLOCK_S", 0.1)


@pytest.fixture
async def streams(redis: Client) -> Client:
    """The store with the dispatchers' group on its first partition."""
    await register(redis, PARTITIONS[:1])
    return redis
