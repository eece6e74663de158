"""The checker, broken on purpose: a true day holds, and each planted violation breaks its invariants and no other."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.cluster import RedisCluster

from bench.cluster import cluster
from runtime.embedded import EmbeddedStore
from tests.system.checker.__main__ import main
from tests.system.house import House
from tests.system.planting import PLANTS, Plant, World
from tests.system.true_house import TrueHouse, write

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")

ALL = {f"I{number}" for number in range(1, 13)}
WITHIN_S = "120"


@pytest.fixture(scope="module")
def true(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrueHouse]:
    """One true day for all."""
    house = House(tmp_path_factory.mktemp("true"))
    try:
        lived = TrueHouse(house)
        lived.live()
        yield lived
    finally:
        house.close()


class Checker:
    """The checker over a world of its own."""

    def __init__(self, true: TrueHouse, url: str, redis: Any, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._true, self.url, self._folder, self._capsys = true, url, folder, capsys
        true.restore(redis)
        self.world = World(true, redis, folder)
        assert main(["--redis", url, "--snapshot", str(folder / "base")]) == 0

    def look(self, *left_out: str) -> tuple[int, dict[str, dict[str, Any]], str]:
        """Exit code, findings by invariant, and all that was printed."""
        world, folder = self.world, self._folder
        given = {
            "--sink": write(folder / "sink", world.sent),
            "--ministry": write(folder / "ministry", world.taken),
            "--keys": self._true.house.data / "keys",
            "--policy": self._true.policy,
            "--logs": world.logs,
            "--metrics": world.metrics,
            "--baseline": folder / "base",
            "--within": WITHIN_S,
        }
        words = ["--redis", self.url, "--history", str(write(folder / "history", world.history)), "--json"]
        words += [str(word) for name, value in given.items() if name not in left_out for word in (name, value)]
        code = main(words)
        printed = self._capsys.readouterr().out
        return code, {finding["invariant"]: finding for finding in json.loads(printed)["findings"]}, printed


@pytest.fixture
def checker(
    true: TrueHouse, server: EmbeddedStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Checker]:
    """The true day in a store where nobody works."""
    with Redis.from_url(server.url) as redis:  # pyright: ignore[reportUnknownMemberType]
        yield Checker(true, server.url, redis, tmp_path, capsys)


def of(findings: dict[str, dict[str, Any]], status: str) -> set[str]:
    return {name for name, finding in findings.items() if finding["status"] == status}


def test_a_true_day_holds_in_all_twelve(checker: Checker) -> None:
    code, findings, _ = checker.look()
    assert (code, of(findings, "ok")) == (0, ALL), findings
    assert all(finding["looked"] > 0 for finding in findings.values())


def test_it_reads_nearly_every_text_by_itself(checker: Checker) -> None:
    _, findings, _ = checker.look()
    (note,) = [note for note in findings["I7"]["notes"] if "grammar" in note]
    assert float(note.rpartition("(")[2].rstrip("%)")) > 95, note


@pytest.mark.parametrize(("breaks", "plant"), [(b, p) for _, b, p in PLANTS], ids=[name for name, _, _ in PLANTS])
def test_a_planted_violation_is_found(checker: Checker, breaks: set[str], plant: Plant) -> None:
    words = plant(checker.world)
    code, findings, printed = checker.look()
    broken = of(findings, "broken")
    assert code == 1
    assert broken == breaks, {name: findings[name]["examples"][:3] for name in broken ^ breaks}
    assert any(words in example for name in breaks for example in findings[name]["examples"]), (words, findings)
    phones = {line["from"] for line in checker.world.history if line["event"] == "pushed"}
    assert not [phone for phone in phones if phone in printed]


def test_what_must_not_break_anything(checker: Checker) -> None:
    world = checker.world
    world.sent.append({**world.sent[3], "ambiguous": True})
    world.history.insert(0, {**world.history[0], "id": "unknown-1"})
    world.history.insert(1, {**world.history[0], "event": "unknown", "id": "unknown-1"})
    world.history.insert(2, {**world.history[0], "event": "fault", "name": "kill_worker", "struck": 1})
    code, findings, _ = checker.look()
    assert (code, of(findings, "broken")) == (0, set()), findings


def test_nothing_looked_at_is_not_ok(checker: Checker) -> None:
    _, findings, _ = checker.look("--sink", "--baseline", "--logs", "--ministry")
    assert of(findings, "not checked") == {"I5", "I6", "I10", "I11", "I12"}
    assert all(finding["why"] for finding in findings.values() if finding["status"] == "not checked")


def test_a_trimmed_trail_is_not_taken_for_all(checker: Checker) -> None:
    checker.world.store.xtrim(checker.world.named("audit")[0], maxlen=0, approximate=False)
    code, findings, _ = checker.look()
    assert (code, of(findings, "not checked")) == (0, {"I1", "I2", "I4", "I5", "I7", "I8", "I9"})


def test_other_rules_than_those_of_the_trail_are_held_against_nothing(checker: Checker) -> None:
    code, findings, _ = checker.look("--policy")
    assert (code, of(findings, "not checked")) == (0, {"I4", "I7"})


def test_a_house_at_work_has_no_accounts_yet(checker: Checker) -> None:
    checker.world.history.pop()
    code, findings, _ = checker.look()
    assert (code, of(findings, "not checked")) == (0, {"I8"})


def test_an_empty_store_is_refused(checker: Checker, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    checker.world.store.flushall()
    assert main(["--redis", checker.url, "--history", str(write(tmp_path / "h", []))]) == 2
    assert "the key `layout` is missing" in capsys.readouterr().err


def test_a_cluster_is_read_as_one_store(true: TrueHouse, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with cluster(tmp_path / "nodes", fsync=False) as three:
        redis: Any = RedisCluster.from_url(f"redis://{three.primaries[0].host}")
        checker = Checker(true, three.url, redis, tmp_path, capsys)
        code, findings, _ = checker.look()
        assert (code, of(findings, "ok")) == (0, ALL), findings
        name = checker.world.named("day")[-1]
        redis.persist(name)
        _, findings, _ = checker.look()
        assert findings["I11"]["examples"] == [f"{name}: no time to live"]
        redis.close()
