"""What the checker's I11 takes for memory: what waits for replicas comes and goes with them."""

from typing import Any
from unittest.mock import Mock

import pytest

from tests.system.checker.growth import snapshot
from tests.system.checker.store import Store


@pytest.mark.parametrize(("memory", "counted"), [({}, 100), ({"mem_total_replication_buffers": 30}, 70)])
def test_what_waits_for_replicas_is_not_counted(memory: dict[str, int], counted: int) -> None:
    said: dict[str, dict[str, Any]] = {"memory": {"used_memory": 100, **memory}, "clients": {"connected_clients": 4}}
    store = Mock(spec=Store)
    store.info.side_effect = said.__getitem__
    assert snapshot(store, Mock(all=[]))["memory"] == counted
