"""The measurements run end to end on a small backlog, and say what they found in the contract's form."""

import json
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from bench import naive
from tests.system.house import House

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="process times are read from /proc")
SMALL = ("--messages", "2000", "--partitions", "8", "--repeats", "1", "--json")
CONDITIONS = "cpu cores python server redis_py level partitions messages mix repeats generator_busy".split()


def measured(house: House, name: str, *words: str, **environ: str) -> dict[str, Any]:
    """What one measurement prints, checked for its form."""
    done = house.call("bench", name, *SMALL, *words, **environ)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert list(told) == ["measurement", "conditions", "figures", "references", "ratios", "targets", "plots"]
    assert told["measurement"] == name
    assert list(told["conditions"])[: len(CONDITIONS)] == CONDITIONS
    assert told["conditions"]["messages"] == 2000
    assert told["conditions"]["generator_busy"] > 0
    for part in ("figures", "references", "ratios"):
        assert all(isinstance(value, int | float) for value in told[part].values())
    assert "icaze bench: " in done.stderr
    return told


def agree(ratios: Mapping[str, float], expected: Mapping[str, float]) -> None:
    """The ratios are those of the figures, but for the rounding of each."""
    assert ratios == pytest.approx(expected, rel=0.02, abs=0.001)


def test_a_drain_is_told_beside_its_references(house: House) -> None:
    told = measured(house, "drain", "--no-peer")
    figures, references = told["figures"], told["references"]
    own = figures["drain_per_s"]
    agree(told["ratios"], {name: own / references[f"{name}_per_s"] for name in ("own_limit", "naive_script")})
    parts = [figures[f"server_{part}_us"] for part in ("append", "read", "decide", "dispatch")]
    assert all(part > 0 for part in parts)
    assert figures["server_us"] == pytest.approx(sum(parts), abs=0.01)
    assert 1 < figures["worker_us"] < 10_000
    assert set(told["targets"]) == {"peer_faststream", "naive_script", "own_limit", "server_us", "worker_us"}
    assert told["targets"]["peer_faststream"]["reached"] is None
    assert told["targets"]["worker_us"].items() >= {"least": 9, "aim": 5}.items()
    assert told["targets"]["own_limit"]["reached"] in ("short", "least", "aim")
    rates, left = told["plots"]
    assert left["lines"]["round 1"][0] == [0, 2000]
    assert rates["title"] == "drain: decisions a second"


def test_the_limit_is_the_workers_own_calls_without_the_worker(house: House) -> None:
    told = measured(house, "limit")
    assert told["conditions"]["calls"] >= 8
    figures = told["figures"]
    agree(told["ratios"], {"naive_script": figures["limit_per_s"] / told["references"]["naive_script_per_s"]})
    assert figures["server_us"] == pytest.approx(figures["server_read_us"] + figures["server_decide_us"], abs=0.01)


def test_memory_is_told_by_what_it_holds_and_nothing_waits_at_rest(house: House) -> None:
    told = measured(house, "memory")
    figures = told["figures"]
    parts = sum(figures[f"{part}_bytes"] for part in ("records", "senders", "counters", "phones"))
    assert figures["state_bytes"] == pytest.approx(parts, abs=0.01)
    assert figures["other_streams_entries"] == 0
    assert told["targets"]["other_streams_entries"] == {"least": 0, "aim": 0, "reached": "aim"}
    assert 22 < figures["records_bytes"] < 1000
    assert figures["phones_bytes"] > 0
    assert 0 < figures["other_keys_bytes"] < 1000
    assert 20 < figures["audit_bytes"] < 1000
    agree(told["ratios"], {"naive_state": told["references"]["naive_state_bytes"] / figures["state_bytes"]})


def test_our_own_client_measures_where_no_benchmark_program_is_there(house: House) -> None:
    told = measured(house, "limit", PATH="/nonexistent")
    assert told["conditions"]["naive_client"] == naive.OWN_CLIENT
    assert told["references"]["naive_script_per_s"] > 0
