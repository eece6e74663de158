"""The store's disk: power that fails, a file with a cut tail, no space left."""

import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from bench.preload import why_not
from tests.system.house import until
from tests.system.laboratory.checking import Checked
from tests.system.laboratory.experiment import Experiment
from tests.system.laboratory.floor import Floor
from tests.system.laboratory.needs import Needs
from tests.system.laboratory.preload import SyncedSizes

QUIET_S: Final = 0.1
"""For answers that had left the links before they were stopped."""
SPACE_MB: Final = 24
MOST_UNSYNCED_S: Final = 2.5
"""Of `appendfsync everysec`: a second, another where the sync before is slow, and the time it takes."""


EXPLAINED: Final = ("I1 loss violated", "I5 replies violated", "checker I1:", "checker I2:", "checker I5:")
"""Where a store that has forgotten its last seconds is held against what others have seen."""
FORGOTTEN: Final = re.compile(
    r": acknowledged, and no trace of it$|: answered \w+ and |: told \d+ ms before it was to be told$"
    r"|, \d+ of them again without a mark$|, and no decision$"
)
"""What that explains, as the checker says it: gone, or decided and sent anew."""
APPENDED: Final = re.compile(rb"XADD\r\n\$\d+\r\ninbound:")


class PowerLoss(Experiment):
    """The store dies, and of its file only what a sync had covered is left."""

    alone = True
    name = "power_loss"
    says = "kill -9 of the store, and every byte after the last fdatasync is gone"
    long = 25

    def __init__(self) -> None:
        self.taken_bytes = 0
        self.taken_sms = 0
        self.unsynced_s = 0.0

    def why_not(self) -> str | None:
        """The syncs are seen by a small library in C."""
        return why_not()

    def prepare(self, floor: Floor) -> None:
        """The store tells how far each file is synced."""
        self._synced = SyncedSizes(floor.house.folder)
        floor.store_environ |= self._synced.environ

    def strike(self, floor: Floor) -> None:
        """One loss of power."""
        floor.at_work("store")
        threading.Event().wait(floor.draw.uniform(0, 1.5))
        with floor.held("store"):
            file = newest(floor)
            struck = floor.posts["store"].kill()
            self.unsynced_s = max(self.unsynced_s, self._synced.age_s(file))
            _gone(floor)
            size, synced = file.stat().st_size, self._synced.of(file)
            assert synced is not None, f"no sync of {file.name} was seen"
            self.taken_bytes += max(0, size - synced)
            with file.open("rb") as tail:
                tail.seek(synced)
                self.taken_sms += len(APPENDED.findall(tail.read()))
            os.truncate(file, min(synced, size))
        floor.fault(self.name, struck)
        floor.at_work("store")
        floor.go_on()


class PowerLossInMemory(PowerLoss):
    """The same at level `memory`, which promises less: what is lost is measured, and its bound held."""

    name = "power_loss_memory"
    says = "the same at level memory: what may be lost, as a bound"
    needs = Needs(level="memory")

    def allow(self, found: Checked) -> None:
        """What follows from a store that has forgotten, and nothing else: counted as lost, no violation."""
        found.violated = [said for said in found.violated if not said.startswith(EXPLAINED)]
        for name in ("I1", "I2", "I5"):
            others = [line for line in found.broken.get(name, ()) if not FORGOTTEN.search(line)]
            found.violated += [f"checker {name}: {line}" for line in others[:3]]

    def hold(self, floor: Floor, found: Checked) -> None:
        """The mechanism takes something, no more than two seconds of it, and only what it takes is lost."""
        assert self.taken_bytes > 0, "the file was synced to its end each time"
        assert self.unsynced_s < MOST_UNSYNCED_S, self.unsynced_s
        assert 0 < found.lost <= self.taken_sms, (found.lost, self.taken_sms)


class CutTail(Experiment):
    """The file ends in the middle of what nobody was told of."""

    name = "aof_cut_tail"
    says = "kill -9 of the store, and its file is cut anywhere in what nobody was told of yet"
    long = 25

    def strike(self, floor: Floor) -> None:
        """One cut."""
        floor.at_work("store", "ingest")
        links = [floor.links[name] for name in floor.posts if name in floor.links]
        for link in links:
            link.drop_replies = True
        threading.Event().wait(QUIET_S)
        file = newest(floor)
        told = file.stat().st_size
        with suppress(AssertionError):  # nothing came: not struck
            until(lambda: file.stat().st_size > told + 100, "more in the file", within_s=3)
        with floor.held("store"):
            floor.posts["store"].kill()
            _gone(floor)
            size = file.stat().st_size
            os.truncate(file, floor.draw.randint(told, max(told, size - 1)))
            for link in links:
                link.drop_replies = False
        floor.fault(self.name, int(size > told))
        floor.at_work("store")
        floor.go_on()


class DiskFull(Experiment):
    """No space on a disk of its own."""

    alone = True
    name = "disk_full"
    says = f"the store's disk of {SPACE_MB} MB is full for a second"

    def why_not(self) -> str | None:
        """A disk of its own needs the right to mount one."""
        if sys.platform != "linux" or os.geteuid() != 0:
            return "mounting a small disk needs root on Linux"
        folder = Path("/tmp") / f"icaze-mount-{os.getpid()}"
        folder.mkdir()
        try:
            _mount(folder)
            _unmount(folder)
        except (OSError, subprocess.CalledProcessError):
            return "mounting a small disk is not allowed here"
        finally:
            folder.rmdir()
        return None

    def prepare(self, floor: Floor) -> None:
        """The disk."""
        folder = floor.house.data / "store"
        folder.mkdir(parents=True, exist_ok=True)
        _mount(folder)
        floor.house.at_end(lambda: _unmount(folder))

    def strike(self, floor: Floor) -> None:
        """One second without space."""
        floor.at_work("store")
        folder = floor.house.data / "store"
        ballast = folder / "ballast"
        starts = floor.posts["store"].starts
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        threading.Event().wait(1.0)
        until(lambda: floor.posts["store"].starts > starts or not floor.posts["store"].alive, "the store's end")
        ballast.unlink()
        floor.fault(self.name)
        floor.go_on()


def newest(floor: Floor) -> Path:
    """The file that the store appends to."""
    return max((floor.house.data / "store" / "appendonlydir").glob("*.incr.aof"), key=lambda path: path.stat().st_mtime)


def _mount(folder: Path) -> None:
    words = ["-t", "tmpfs", "-o", f"size={SPACE_MB}m", "none", str(folder)]
    subprocess.run([shutil.which("mount") or "mount", *words], check=True, capture_output=True)


def _unmount(folder: Path) -> None:
    subprocess.run([shutil.which("umount") or "umount", "-l", str(folder)], check=True, capture_output=True)


def _gone(floor: Floor) -> None:
    until(lambda: not floor.posts["store"].alive, "the store's end")


ALL: Final = (PowerLoss, PowerLossInMemory, CutTail, DiskFull)
