"""What the checker's I11 takes for memory and connections: what waits for replicas comes and goes with them."""

import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from tests.system.checker.growth import CLIENTS_SLACK, growth, snapshot
from tests.system.checker.store import Store


@pytest.mark.parametrize(("memory", "counted"), [({}, 100), ({"mem_total_replication_buffers": 30}, 70)])
def test_what_waits_for_replicas_is_not_counted(memory: dict[str, int], counted: int) -> None:
    said: dict[str, dict[str, Any]] = {"memory": {"used_memory": 100, **memory}, "clients": {"connected_clients": 4}}
    store = Mock(spec=Store)
    store.info.side_effect = said.__getitem__
    assert snapshot(store, Mock(all=[]))["memory"] == counted


@pytest.mark.parametrize("more", [0, 1])
def test_connections_that_pile_up_are_found(more: int, tmp_path: Path) -> None:
    def store(clients: int) -> Mock:
        said: dict[str, dict[str, Any]] = {"memory": {"used_memory": 100}, "clients": {"connected_clients": clients}}
        made = Mock(spec=Store)
        made.info.side_effect = said.__getitem__
        return made

    names = Mock(all=[], of=Mock(return_value=[]))
    baseline = tmp_path / "baseline"
    baseline.write_text(json.dumps(snapshot(store(4), names)))
    evidence = Mock(store=store(4 + CLIENTS_SLACK + more), names=names, baseline=baseline, layout=Mock(tags=["t"]))
    assert len(growth(evidence).broken) == more
