"""What a measurement takes of the machine itself: its own work and that of the programs that it ran."""

import subprocess
import sys
import time

import pytest

from bench.machine import OwnTime

SPIN_S = 0.3
SPIN = f"import time\nwhile time.process_time() < {SPIN_S}: pass"


def test_our_own_work_and_that_of_children_that_have_ended_counts() -> None:
    own, began_s = OwnTime(), time.monotonic()
    spent_s = time.process_time()
    while time.process_time() - spent_s < SPIN_S:
        pass
    subprocess.run([sys.executable, "-c", SPIN], check=True)
    busy = own.busy
    assert busy * (time.monotonic() - began_s) > 2 * SPIN_S * 0.95


def test_time_that_passes_is_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    own, later_s = OwnTime(), time.monotonic() + 1
    monkeypatch.setattr(time, "monotonic", lambda: later_s)
    assert own.busy < 0.05
