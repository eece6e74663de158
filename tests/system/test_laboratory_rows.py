"""What `make chaos` keeps of earlier calls: nothing that was not made of these sources, and every failure."""

from collections import Counter
from pathlib import Path

import msgspec
import pytest

from tests.system.laboratory import __main__ as laboratory
from tests.system.laboratory import rows
from tests.system.laboratory.conduct import Row
from tests.system.laboratory.experiment import Experiment


class Fault(Experiment):
    """One that is never made."""

    name = "fault"
    says = "nothing"
    long = 5


class Bench:
    """Calls of the command on one file, in which a row is told instead of made."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = folder / "rows"
        self.made = Counter[int]()
        """Experiments made, by strikes."""
        self.failures: list[str] = []
        self.skipped: str | None = None
        self.source = "a"
        monkeypatch.setattr(laboratory, "EXPERIMENTS", {"fault": Fault})
        monkeypatch.setattr(laboratory, "conduct", self._conduct)
        monkeypatch.setattr(laboratory, "source", lambda: self.source)

    def call(self, *words: str) -> int:
        """Its exit code."""
        return laboratory.main(["--rows", str(self.file), *words])

    def _conduct(self, experiment: Experiment, *, runs: int, seed: int, **_: object) -> Row:
        self.made[runs] += 1
        return Row(experiment.name, seed, runs=runs, struck=1, failures=list(self.failures), skipped=self.skipped)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """An empty file."""
    return Bench(tmp_path, monkeypatch)


def test_what_held_is_not_made_again_until_the_sources_or_the_strikes_differ(bench: Bench) -> None:
    assert (bench.call("--runs", "1"), bench.call("--runs", "1")) == (0, 0)
    assert bench.made == {1: 1}
    assert (bench.call(), bench.call()) == (0, 0)
    assert bench.made == {1: 1, 5: 1}
    bench.source = "b"
    assert bench.call() == 0
    assert bench.made == {1: 1, 5: 2}
    assert bench.call("--seed", "2") == 0
    assert bench.made == {1: 1, 5: 3}


def test_a_failure_is_made_again_and_stays_one(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.failures = ["one SMS lost"]
    assert bench.call() == 1
    bench.failures = []
    assert (bench.call(), bench.call()) == (1, 1)
    assert bench.made == {5: 2}
    assert capsys.readouterr().out.count("one SMS lost") == 3
    bench.source = "b"
    assert bench.call() == 0


def test_what_was_skipped_is_tried_again(bench: Bench) -> None:
    bench.skipped = "no C compiler"
    assert (bench.call(), bench.call()) == (0, 0)
    assert bench.made == {5: 2}
    assert not bench.file.exists()


def test_a_row_of_before_there_were_sources_counts_for_nothing(bench: Bench) -> None:
    bench.file.write_bytes(msgspec.json.encode({"experiment": "fault", "seed": 1, "runs": 5}) + b"\n")
    assert bench.call() == 0
    assert bench.made == {5: 1}


def test_the_fingerprint_follows_sources_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "lua").mkdir()
    script = tmp_path / "lua" / "decide.lua"
    script.write_text("return 1")
    first = rows.source(tmp_path)
    (tmp_path / "README.md").write_text("words")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "other.py").write_text("pass")
    assert rows.source(tmp_path) == first
    script.write_text("return 2")
    assert rows.source(tmp_path) != first
    assert len(rows.source()) == 12
