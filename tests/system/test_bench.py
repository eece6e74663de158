"""The measurements themselves: a few hundred SMS through a system that they start, end to end."""

import json
from pathlib import Path

import pytest

from bench import ingest, peak
from bench.passage import Load, pass_through
from bench.posts import distinct


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


def test_a_peak_in_small_prints_one_object_with_its_targets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--scale", "0.05", "--only", "burst", "--burst-seconds", "1", "--shape", "none", "--json"]
    assert peak.main([*words, "--folder", str(tmp_path)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["measurement"] == "peak"
    assert told["figures"]["burst_sms_pushed"] == 500
    assert set(told["targets"]) == {name for name in peak.TARGETS if name.startswith("burst")}
    assert {plot["kind"] for plot in told["plots"]} == {"lines", "percentiles"}


def test_ingest_is_paired_with_both_bare_handlers(tmp_path: Path) -> None:
    told = ingest.measure(Load(rate=100, seconds=1), tmp_path, rounds=1, round_s=0.2)
    assert told.figures["requests_failed"] == 0
    for name in ("single", "array"):
        assert told.figures[f"{name}_per_s"] > 100
        assert told.references[f"{name}_bare_per_s"] > 100
        assert told.ratios[name] > 0
