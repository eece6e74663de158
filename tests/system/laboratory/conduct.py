"""One experiment from the first SMS to its row of the table: load, strikes, quiescence, checks."""

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

import msgspec

from tests.system.laboratory.checking import checked
from tests.system.laboratory.experiment import Experiment
from tests.system.laboratory.floor import Floor
from tests.system.laboratory.ministry import Ministry
from tests.system.laboratory.sends import longest_wait_s, slowest_recovery_s

TELL_EVERY_S: Final = 5.0


class Row(msgspec.Struct):
    """A row of the table."""

    experiment: str
    seed: int
    source: str = ""
    """Fingerprint of the sources."""
    level: str = "fsync"
    runs: int = 0
    struck: int = 0
    """Strikes that met work under way."""
    strikes: dict[str, int] = {}
    """The same by name."""
    acknowledged: int = 0
    """Distinct SMS that a pusher was told are stored."""
    decided: int = 0
    sent: int = 0
    ambiguous: int = 0
    lost: int = 0
    doubled: int = 0
    longest_stall_s: float | None = None
    """The longest that an acknowledged SMS waited for its answer."""
    recovered_s: float | None = None
    """From a strike until all that was pushed right after it was answered; the slowest."""
    looked: dict[str, int] = {}
    """Facts that the checker has looked at, by invariant."""
    failures: list[str] = []
    skipped: str | None = None
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether everything held that was promised, and the fault was there."""
        return not self.failures


def conduct(
    experiment: Experiment,
    *,
    runs: int,
    seed: int,
    progress: Callable[[str], None] = lambda _: None,
    keep: bool = False,
) -> Row:
    """Make one experiment; its row, with the failures in it where it went wrong. Its files stay where it failed."""
    row = Row(experiment.name, seed, level=experiment.needs.level, skipped=experiment.why_not())
    if row.skipped is not None:
        return row
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="icaze-lab-"))
    floor = Floor(folder, experiment.needs, Random(seed))
    try:
        _run(experiment, floor, row, runs, progress)
    except Exception as error:  # noqa: BLE001  # whatever went wrong is the row's; the next experiment goes on
        row.failures.append(f"{type(error).__name__}: {error}")
    finally:
        floor.close()
    row.seconds = round(time.monotonic() - began, 1)
    if row.failures or keep:
        row.failures = [*row.failures, f"files: {folder}"] if row.failures else []
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return row


def _run(experiment: Experiment, floor: Floor, row: Row, runs: int, progress: Callable[[str], None]) -> None:
    experiment.prepare(floor)
    floor.open()
    told_s = 0.0
    for run in range(runs):
        experiment.strike(floor)
        row.runs, row.struck = run + 1, floor.struck.total()
        if time.monotonic() < told_s + TELL_EVERY_S and row.runs < runs:
            continue
        told_s = time.monotonic()
        progress(f"{experiment.name}: {run + 1} of {runs} runs, struck {row.struck}, {floor.acknowledged} acknowledged")
    floor.settle()
    files = {"baseline": floor.baseline} | ({} if floor.ministry is None else {"ministry": floor.ministry.log})
    found = checked(floor.house, floor.history, floor.server.url, metrics=floor.metrics(), **files)
    row.acknowledged = len({event["id"] for event in floor.history.events() if event["event"] == "acknowledged"})
    row.decided, row.sent, row.ambiguous = found.decided, found.sent, found.ambiguous
    row.lost, row.doubled, row.looked = found.lost, found.doubled, found.looked
    experiment.allow(found)
    row.failures += found.violated
    unseen = found.unchecked.keys() - experiment.not_looked_at
    row.failures += [f"checker {name} not checked: {found.unchecked[name]}" for name in sorted(unseen)]
    if floor.ministry is not None:
        row.failures += _of_employment(floor, floor.ministry)
    experiment.hold(floor, found)
    row.struck, row.strikes = floor.struck.total(), dict(floor.struck)
    if not row.struck:
        row.failures.append("none struck: the fault never met work under way")
    first = floor.sends.look().first
    row.longest_stall_s = longest_wait_s(floor.history.events(), first)
    row.recovered_s = slowest_recovery_s(floor.history.events(), first)


def _of_employment(floor: Floor, ministry: Ministry) -> list[str]:
    """What a house with a clerk has failed in: that nothing came of it, and what the Ministry saw wrong."""
    seen = {
        "the clerk was told of no act": floor.history.counts.get("acted", 0),
        "the Ministry has taken nothing": ministry.taken,
    }
    return [what for what, count in seen.items() if not count] + [f"the Ministry: {said}" for said in ministry.wrong]
