"""What the machine itself gives: processor time of a process, its cores, and how long the disk takes for a sync."""

import os
import resource
import time
from pathlib import Path
from typing import Final

from bench.latencies import Latencies

SYNCS: Final = 200
BLOCK: Final = bytes(4096)
"""About what a group of a dozen SMS adds to the append-only file."""


class OwnTime:
    """What this process and its children that have ended since take of the machine, from here on."""

    def __init__(self) -> None:
        self._began_s, self._used_s = time.monotonic(), _ours_s()

    @property
    def busy(self) -> float:
        """As a share of a core."""
        return (_ours_s() - self._used_s) / (time.monotonic() - self._began_s)


def _ours_s() -> float:
    each = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in each)


def cpu_us(pid: int) -> float:
    """Processor time that all threads of a process have had (Linux; 0 where it is gone)."""
    return sum(_used_ns(task) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e3


def _used_ns(task: Path) -> int:
    try:
        return int(task.read_text().split()[0])
    except OSError:  # the thread has ended
        return 0


def busy_us() -> float:
    """Processor time that all programs of the machine have had together."""
    # user, nice, system, irq and softirq; guests are counted in user already
    words = Path("/proc/stat").read_text().split(maxsplit=8)[1:8]
    ticks = sum(int(word) for at, word in enumerate(words) if at not in (3, 4))  # neither idle nor waiting
    return ticks * 1e6 / os.sysconf("SC_CLK_TCK")


def cores() -> tuple[int, int]:
    """One for the server measured, one for the rest."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise SystemExit("two cores are needed: one for the server measured, one for the rest")
    return usable[0], usable[1]


def pin(pid: int, core: int) -> None:
    """All threads of a process to one core."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def sync_times(folder: Path, count: int = SYNCS) -> Latencies:
    """How long the disk under a folder takes to keep an appended block: the floor of every acknowledgement."""
    took = Latencies()
    path = folder / "sync.probe"
    with path.open("wb", buffering=0) as file:
        for _ in range(count):
            file.write(BLOCK)
            began_s = time.perf_counter()
            os.fdatasync(file.fileno())
            took.add(time.perf_counter() - began_s)
    path.unlink()
    return took
