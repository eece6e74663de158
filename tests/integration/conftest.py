"""A store of a test's own, to be paused, killed and started again."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtime.embedded import EmbeddedStore


@pytest.fixture
async def own_store() -> AsyncIterator[EmbeddedStore]:
    """A started server that syncs every write to disk; stopped at the end where it still runs."""
    with tempfile.TemporaryDirectory(prefix="icaze-") as folder:
        store = EmbeddedStore(Path(folder), memory_mb=128)
        await store.start()
        yield store
        await store.stop()
