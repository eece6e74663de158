"""The measurements themselves: a few hundred SMS through a system that they start, end to end."""

import json
import os
from argparse import Namespace
from pathlib import Path
from unittest.mock import Mock

import pytest

from bench import ingest, peak, scale
from bench.backlog import Backlog
from bench.pairs import fixed
from bench.passage import Load, pass_through
from bench.posts import distinct
from bench.preload import why_not
from lua.records import entries
from permits.calendar import day_name, local_day
from permits.partition import FIELD_BYTES
from tests.system.house import House


def test_one_load_is_followed_from_each_push_to_the_operator(tmp_path: Path) -> None:
    seen = pass_through(Load(rate=250, seconds=2, seed=3), tmp_path / "one")
    figures = seen.figures()
    assert (figures["sms_pushed"], figures["requests_failed"], figures["sms_rejected"]) == (500, 0, 0)
    assert (figures["violations"], figures["not_checked"]) == (0, 0)
    ids = {id_ for _, id_ in distinct(seen.pushed)}
    assert set(seen.acked_ms) == ids
    assert 450 < figures["sms_replied"] <= len(ids)
    began_ms = seen.answers.began_wall_s * 1000
    assert all(began_ms - 1 <= at for at in seen.at_operator_ms.values())
    assert all(
        seen.at_operator_ms[id_] + 1 >= seen.intended_ms(number)
        for number, id_ in distinct(seen.pushed)
        if id_ in seen.at_operator_ms
    )
    assert 0 < figures["ack_p50_ms"] < figures["sink_p50_ms"] <= figures["sink_p99_ms"] <= figures["sink_max_ms"]
    assert min(used for role, used in seen.cpu_us.items() if role != "api") > 1
    assert min(seen.peak_mb.values()) > 1
    assert 0 < seen.references()["fdatasync_p50_ms"]


def test_a_peak_in_small_prints_one_object_with_its_targets(house: House, tmp_path: Path) -> None:
    words = ["--scale", "0.05", "--only", "burst", "--burst-seconds", "1", "--repeats", "2", "--json"]
    done = house.call("bench", "peak", *words, "--shape", "none", "--folder", str(tmp_path / "peak"))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["measurement"] == "peak"
    assert told["figures"]["burst_sms_pushed"] == told["conditions"]["messages"] == 500
    assert told["conditions"]["repeats"] == 2
    assert 0 < told["conditions"]["generator_busy"] < 1
    assert set(told["targets"]) == {name for name in peak.TARGETS if name.startswith("burst")}
    broken = {f"burst_{name}" for name in ("requests_failed", "sms_rejected", "violations", "not_checked")}
    assert {name for name, target in told["targets"].items() if target["least"] == target["aim"] == 0} == broken
    assert {plot["kind"] for plot in told["plots"]} == {"lines", "percentiles"}


def test_a_day_in_small_is_told_with_what_waited(house: House, tmp_path: Path) -> None:
    folder = tmp_path / "day"
    done = house.call("bench", "day", "--messages", "3000", "--folder", str(folder), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    figures = told["figures"]
    lines = (folder / "sink.ndjson").read_bytes().splitlines()
    assert figures["acknowledged"] == told["conditions"]["messages"] == 3000
    assert figures["sent"] == len(lines) > 2000
    assert told["targets"].items() >= {"violations": {"least": 0, "aim": 0, "reached": "aim"}}.items()
    assert "last_reply_s" not in told["targets"]  # of a national day alone
    assert [sorted(plot["lines"]) for plot in told["plots"]] == [["undecided", "unsent"], ["used"]]
    assert 0 < told["conditions"]["generator_busy"] < 2


@pytest.mark.skipif(why_not() is not None and not os.environ.get("CI"), reason=str(why_not()))
def test_a_soak_in_small_looks_at_all_that_could_grow(house: House) -> None:
    done = house.call("bench", "soak", "--days", "2", "--messages", "400", "--settle", "0.5", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["figures"]["accepted"] == told["conditions"]["messages"] == 800
    assert told["conditions"]["generator_busy"] > 0
    promised = {"keys_without_end", "consumers_more", "pending", "waiting", "trail_broken"}
    promised |= {"replies_trimmed_unread", "undecided_or_twice"}
    assert {name: told["figures"][name] for name in promised} == dict.fromkeys(promised, 0)
    assert set(told["targets"]) == promised  # what grows shows after many days only
    keys = told["plots"][0]["lines"]
    assert keys["day"][0][1] > 0
    assert keys["day"][1][1] > keys["day"][0][1]


def test_of_an_api_that_runs_elsewhere_only_what_was_looked_at_is_told(house: House, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text("{}")
    with fixed(tmp_path, "/v1/status", {}, b"{}", min(os.sched_getaffinity(0))) as (url, _):
        words = ["--url", url, "--body-file", str(body), "--rate", "100", "--seconds", "0.2", "--json"]
        done = house.call("bench", "open-loop", *words)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["figures"]["answered"] == 20
    assert {told["conditions"][name] for name in ("server", "redis_py", "level", "partitions")} == {None}
    assert told["conditions"]["generator_busy"] > 0


def test_an_epoch_is_seen_by_both_processes_of_the_api(house: House) -> None:
    done = house.call("bench", "epoch", "--rounds", "1", "--permits", "1000", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["figures"]["items_an_act"], told["figures"]["sms"]) == (1, 0)
    assert told["figures"]["seen_elsewhere_ms_most"] > 0
    assert 0 < told["conditions"]["generator_busy"] < 2


def test_ingest_is_paired_with_both_bare_handlers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    emptied = Mock(wraps=ingest.empty)
    monkeypatch.setattr(ingest, "empty", emptied)
    told = ingest.load_and_pairs(Load(rate=100, seconds=1), tmp_path, repeats=1, rounds=1, round_s=0.2)
    assert told.figures["requests_failed"] == 0
    for name in ("single", "array"):
        assert told.figures[f"{name}_per_s"] > 100
        assert told.references[f"{name}_bare_per_s"] > 100
        assert told.ratios[name] > 0
    assert emptied.call_count == 2 * 2 * 2 + 1, "before each turn of a warm and a counted round, and at the end"


def test_each_size_stands_beside_the_first_of_its_series(tmp_path: Path) -> None:
    arguments = Namespace(messages=600, mix="launch", partitions=4, repeats=1, seed=5)
    told = scale.rounds(arguments, {"documents": (100, 3000), "partitions": (1, 2), "primaries": (1, 3)}, tmp_path)
    figures, ratios = told.figures, told.ratios
    for cost in ("server", "worker"):
        pairs = ("documents_100", "documents_3000"), ("partitions_1", "partitions_2"), ("primaries_1", "primaries_3")
        for first, other in pairs:
            ratio = ratios[f"{other}_{cost}"]
            assert ratio == pytest.approx(figures[f"{other}_{cost}_us"] / figures[f"{first}_{cost}_us"], abs=0.01)
            assert ratios[f"{first.partition('_')[0]}_{cost}_spread"] == pytest.approx(max(ratio, 1 / ratio), abs=0.01)
    assert set(told.targets) == {name for name in ratios if name.endswith("_spread")}
    assert len(told.targets) == 6
    assert [len(plot["lines"]) for plot in told.plots] == [2, 1, 2, 1, 2, 1]
    assert told.conditions["messages"] == 600


def test_planted_records_are_those_of_a_day_in_the_stores_own_layout(tmp_path: Path) -> None:
    backlog = Backlog(1, tmp_path, mix="launch", seed=1, partitions=4)
    found: dict[str, dict[bytes, bytes]] = {}
    for word, key, *pairs in scale.planted(1003, backlog):
        assert word == "HSET"
        found.setdefault(str(key), {}).update(zip(pairs[::2], pairs[1::2], strict=True))  # type: ignore[arg-type]
    day = day_name(local_day(backlog.arrived_ms))
    assert set(found) == {keys.day(day) for keys in backlog.partitions}
    assert sorted(map(len, found.values())) == [250, 251, 251, 251]
    values = [(field, entries(value)) for records in found.values() for field, value in records.items()]
    assert {len(field) for field, _ in values} == {FIELD_BYTES}
    assert all(len(record) == 1 and record[0].approved and record[0].purpose == 2 for _, record in values)
    assert {record[0].arrived_s for _, record in values} == {backlog.arrived_ms // 1000}
    assert {record[0].minutes for _, record in values} == {180}
    assert len({record[0].digest for _, record in values}) == 1003
