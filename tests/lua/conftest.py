"""One partition with its lane's lease taken: on both servers, or on the real one alone."""

import pytest

from lua.store import Store
from runtime.connection import Client
from tests.lua.batches import Partition


@pytest.fixture
async def partition(store: Store) -> Partition:
    """On the real and on the fake server in turn."""
    lane = Partition(store)
    assert await lane.lease() == "1"
    return lane


@pytest.fixture
async def real(redis: Client) -> Partition:
    """On the real server alone."""
    lane = Partition(redis)
    assert await lane.lease() == "1"
    return lane
