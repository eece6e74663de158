"""Workers of other releases beside ours: one that differs under our library's name, one of the next version."""

import shutil
import sys
from pathlib import Path
from typing import Final

from lua.library import LIBRARY
from tests.system.house import START_S
from tests.system.laboratory.experiment import Experiment
from tests.system.laboratory.floor import Floor

ROOT: Final = Path(__file__).parents[4]
PACKAGES: Final = ("permits", "lua", "runtime", "processor")
NEXT: Final = "permits_v99"
OTHER: Final = f"process-{NEXT}"


class OtherSource(Experiment):
    """It must refuse to start, and must change nothing."""

    alone = True
    name = "library_differs"
    says = "a worker whose library has our name and another source: it must refuse to start"
    long = 3

    def prepare(self, floor: Floor) -> None:
        """The other release."""
        release = _release(floor.house.folder)
        with (release / "lua" / "decide.lua").open("a") as source:
            source.write("\n-- another release\n")

    def strike(self, floor: Floor) -> None:
        """One start of it."""
        environ = floor.posts["process"].environ | {"PYTHONPATH": str(floor.house.folder / "release")}
        worker = floor.house.run([sys.executable, "-P", "-m", "icaze", "process"], environ)
        code = worker.ended(within_s=START_S)
        assert code == 1, (code, worker.errors())
        assert "bump the version" in worker.errors(), worker.errors()
        floor.fault(self.name)
        floor.go_on()


class NextVersion(Experiment):
    """Both versions decide, side by side, each in its partitions."""

    alone = True
    name = "library_side_by_side"
    says = "a worker of another version of the library beside ours, both at work; then ours is killed"
    long = 3

    def prepare(self, floor: Floor) -> None:
        """The other release, and its worker."""
        release = _release(floor.house.folder)
        for file in (*(release / "lua").glob("*.lua"), release / "lua" / "library.py"):
            file.write_text(file.read_text().replace(LIBRARY, NEXT))
        words = [sys.executable, "-P", "-m", "icaze", "process"]
        environ = {"PYTHONPATH": str(floor.house.folder / "release")}
        floor.add_worker(OTHER, words=words, word=f"{NEXT}_decide".encode(), environ=environ)

    def strike(self, floor: Floor) -> None:
        """Both work, and the other takes over when ours dies."""
        floor.at_work(OTHER, "process")
        floor.fault(self.name, floor.posts["process"].kill())
        floor.at_work("process")
        floor.go_on()


def _release(folder: Path) -> Path:
    """A copy of what a worker needs, to be made another release."""
    release = folder / "release"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, release / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "icaze.py", release)
    return release


ALL: Final = (OtherSource, NextVersion)
