"""What measurements say: one form for programs, a table for people, and each target beside what was seen."""

import argparse
import json
import os
import signal
import subprocess
from types import SimpleNamespace
from unittest.mock import Mock

import msgspec
import pytest

from bench import command, store
from bench.measurement import Measurement, Target, conditions, reached

CONDITIONS = "cpu cores python server redis_py level partitions messages mix repeats generator_busy".split()


def measured(**figures: float) -> Measurement:
    return Measurement(
        measurement="drain",
        conditions=conditions(messages=10, mix="launch", generator_busy=0.0312345, notes=["a"]),
        figures={"worker_us": 7.25, "drain_per_s": 48_726, **figures},
        references={"naive_script_per_s": 97_024},
        ratios={"naive_script": 0.5, "own_limit": 0.95},
        targets={
            "worker_us": Target(9, 5),
            "naive_script": Target(1.05, 1.5),
            "own_limit": Target(0.85, 0.95),
            "violations": Target(0, 0),
        },
    )


@pytest.mark.parametrize(
    ("target", "seen", "expected"),
    [
        (Target(50, 15), 50.1, "short"),
        (Target(50, 15), 50, "least"),
        (Target(50, 15), 15, "aim"),
        (Target(0.45, 0.65), 0.44, "short"),
        (Target(0.45, 0.65), 0.45, "least"),
        (Target(0.45, 0.65), 0.65, "aim"),
        (Target(0, 0), 0, "aim"),
        (Target(0, 0), 1, "short"),
    ],
)
def test_the_higher_of_least_and_aim_says_which_way_is_better(target: Target, seen: float, expected: str) -> None:
    assert reached(seen, target) == expected


def test_programs_get_one_line_with_every_target_and_how_far_it_was_reached(capsys: pytest.CaptureFixture[str]) -> None:
    measured().show(as_json=True)
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    told = json.loads(said)
    assert list(told) == ["measurement", "conditions", "figures", "references", "ratios", "targets", "plots"]
    assert told["targets"] == {
        "worker_us": {"least": 9, "aim": 5, "reached": "least"},
        "naive_script": {"least": 1.05, "aim": 1.5, "reached": "short"},
        "own_limit": {"least": 0.85, "aim": 0.95, "reached": "aim"},
        "violations": {"least": 0, "aim": 0, "reached": None},
    }
    again = msgspec.convert(told, Measurement)
    assert msgspec.structs.asdict(again) == msgspec.structs.asdict(measured())


def test_people_read_the_target_beside_the_figure_and_the_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    measured().show(as_json=False)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["worker_us", "7.250", *"(least 9, aim 5: reached least)".split()] in lines
    assert ["naive_script", "0.500", *"(least 1.05, aim 1.5: short)".split()] in lines
    assert ["own_limit", "0.950", *"(least 0.85, aim 0.95: reached aim)".split()] in lines
    assert ["drain_per_s", "48,726"] in lines
    assert ["naive_script_per_s", "97,024"] in lines


def test_what_was_slow_is_for_the_reader_and_a_broken_promise_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(one: Measurement | None) -> int:
        module = SimpleNamespace(measure=Mock(return_value=one))
        monkeypatch.setattr(command, "MEASUREMENTS", {"drain": (module, "")})
        return command.run(argparse.Namespace(measurement="drain", json=True))

    monkeypatch.setattr(signal, "signal", Mock())
    assert run(measured()) == 0
    assert run(measured(violations=0)) == 0
    assert run(None) == 0
    assert capsys.readouterr().err == ""
    assert run(measured(violations=2)) == 1
    assert capsys.readouterr().err == "icaze bench drain: violations must be 0\n"


def test_every_measurement_begins_with_the_same_conditions() -> None:
    told = measured().conditions
    assert list(told) == [*CONDITIONS, "notes"]
    assert told["cores"] == os.cpu_count()
    assert (told["level"], told["partitions"], told["repeats"], told["generator_busy"]) == ("fsync", 64, 1, 0.031)
    assert conditions()["generator_busy"] is None


def test_nothing_is_told_of_a_store_that_nobody_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "binary", Mock(side_effect=AssertionError("looked for a server")))
    told = conditions(own_store=False, generator_busy=0.5)
    assert list(told) == CONDITIONS
    assert {told[name] for name in ("server", "redis_py", "level", "partitions")} == {None}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64 build=1536df31c0395150", "valkey 9.1.2, libc"),
        ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=e", "redis 7.0.15, jemalloc-5.3.0"),
    ],
)
def test_the_server_is_told_by_name_version_and_allocator(
    monkeypatch: pytest.MonkeyPatch, said: str, expected: str
) -> None:
    monkeypatch.setattr(subprocess, "run", Mock(return_value=SimpleNamespace(stdout=said + "\n")))
    assert store.version() == expected


def test_every_measurement_has_help_and_json() -> None:
    for name in command.MEASUREMENTS:
        parser = argparse.ArgumentParser()
        command.configure(parser)
        assert parser.parse_args([name, "--json"]).json is True
        with pytest.raises(SystemExit, match=r"^0$"):
            parser.parse_args([name, "--help"])


def test_the_measurements_of_the_contract_are_there() -> None:
    assert set(command.MEASUREMENTS) >= {"drain", "ingest", "limit", "peak", "memory", "scale", "peers"}
