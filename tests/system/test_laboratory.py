"""Every experiment of the laboratory once, small; the long run is `make chaos`."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from lua.keys import INBOUND_GROUP
from tests.system.laboratory.clerk import Clerk
from tests.system.laboratory.conduct import conduct
from tests.system.laboratory.experiment import Experiment
from tests.system.laboratory.experiments import EXPERIMENTS
from tests.system.laboratory.floor import Floor
from tests.system.laboratory.needs import Needs
from tests.system.laboratory.sends import Sends, longest_wait_s, slowest_recovery_s
from tests.system.laboratory.together import groups

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="unmounts, preloads and traces as Linux does")
GROUPS: Final = {group.name: group for group in groups(make() for make in EXPERIMENTS.values())}


@pytest.mark.timeout(400)  # some twenty experiments in one house: 40 s on a quiet machine
@pytest.mark.parametrize("name", GROUPS)
def test_nothing_acknowledged_is_lost_and_nothing_decided_twice(name: str) -> None:
    row = conduct(GROUPS[name], runs=GROUPS[name].small, seed=1)
    if row.skipped is not None:
        assert not os.environ.get("CI"), f"where everything is tested, this must be: {row.skipped}"
        pytest.skip(row.skipped)
    assert row.failures == []
    assert row.struck > 0
    assert row.doubled == 0
    assert row.level == "memory" or row.lost == 0
    assert row.decided >= row.acknowledged - row.lost > 0


class Harmless(Experiment):
    """A fault that never happens, in a house where a clerk should be at work."""

    name = "harmless"
    says = "nothing"
    needs = Needs(asks=True)

    def strike(self, floor: Floor) -> None:
        """Nothing."""
        floor.fault(self.name, 0)


def test_a_house_in_which_nothing_was_struck_and_no_clerk_did_anything_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clerk, "run", nothing)
    row = conduct(Harmless(), runs=1, seed=1)
    assert not row.ok
    assert row.failures[:-1] == [
        "checker I10 not checked: there was nothing to look at",
        "the clerk was told of no act",
        "the Ministry has taken nothing",
        "none struck: the fault never met work under way",
    ]


async def nothing(_: Clerk) -> None:
    """A clerk on leave."""


class Robbed(Harmless):
    """Entries that vanish from the streams behind everybody's back, and a reader who leaves its name there."""

    name = "robbed"
    needs = Needs()

    def strike(self, floor: Floor) -> None:
        """Take away what comes, until something was taken."""
        floor.posts["process"].remove()
        floor.go_on_pushing()
        taken = sum(floor.ask("XTRIM", name, "MAXLEN", 0) for name in floor.inbound)
        floor.ask("XGROUP", "CREATECONSUMER", floor.inbound[0], INBOUND_GROUP, "left-behind")
        floor.fault(self.name, taken)
        floor.posts["process"].wanted = True
        floor.go_on()


def test_a_loss_and_a_growth_are_found() -> None:
    row = conduct(Robbed(), runs=1, seed=1)
    assert row.lost > 0
    assert not row.ok
    assert any(said.startswith("checker I11: 1 of") and "consumers: " in said for said in row.failures), row.failures


def test_stalls_and_recoveries_are_read_from_the_history_and_the_log(tmp_path: Path) -> None:
    def events() -> Iterator[dict[str, object]]:
        for at_ms, name in ((0, "a"), (1000, "b"), (1100, "c"), (9000, "d")):
            yield {"at_ms": at_ms, "event": "pushed", "id": name}
            yield {"at_ms": at_ms + 10, "event": "acknowledged", "id": name}
        yield {"at_ms": 900, "event": "fault", "struck": 1}
        yield {"at_ms": 8990, "event": "fault", "struck": 0}

    log = tmp_path / "sink"
    lines = [{"in_reply_to": name, "at_ms": at} for name, at in (("a", 20), ("b", 1500), ("c", 4000), ("c", 9000))]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"in_rep')
    sends = Sends(log).look()
    assert (sends.sent, sends.first) == (4, {"a": 20, "b": 1500, "c": 4000})
    assert longest_wait_s(events(), sends.first) == 2.89
    assert slowest_recovery_s(events(), sends.first) == 3.1


def test_the_list_names_every_experiment_and_a_wrong_name_is_refused() -> None:
    laboratory = [sys.executable, "-m", "tests.system.laboratory"]
    told = subprocess.run([*laboratory, "--list"], capture_output=True, text=True, check=True, timeout=60)
    assert [line.split()[0] for line in told.stdout.splitlines()] == list(EXPERIMENTS)
    wrong = subprocess.run([*laboratory, "--experiment", "x"], capture_output=True, text=True, check=False, timeout=60)
    assert (wrong.returncode, "no experiment 'x'" in wrong.stderr) == (2, True)
