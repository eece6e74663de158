"""Experiments that need the same house, one after another in one: what the tests run."""

from collections.abc import Iterable

from tests.system.laboratory.checking import Checked
from tests.system.laboratory.experiment import Experiment
from tests.system.laboratory.floor import Floor
from tests.system.laboratory.needs import Needs


class Together(Experiment):
    """Some experiments as one: a strike is each one's small number of them, and each must strike."""

    says = "several"

    def __init__(self, parts: list[Experiment]) -> None:
        self.name = f"{parts[0].name}+{len(parts) - 1}"
        self.needs = parts[0].needs
        self._parts = parts

    def why_not(self) -> str | None:
        """Where one cannot be made, none is."""
        return next((why for part in self._parts if (why := part.why_not())), None)

    def prepare(self, floor: Floor) -> None:
        """Before anything starts, for all."""
        for part in self._parts:
            part.prepare(floor)

    def strike(self, floor: Floor) -> None:
        """All of them in turn."""
        for part in self._parts:
            for _ in range(part.small):
                part.strike(floor)

    def allow(self, found: Checked) -> None:
        """As each allows."""
        for part in self._parts:
            part.allow(found)

    def hold(self, floor: Floor, found: Checked) -> None:
        """What each holds, and that each has struck."""
        for part in self._parts:
            part.hold(floor, found)
            assert any(floor.struck[name] for name in part.strikes), f"{part.name} never met work under way"


def groups(experiments: Iterable[Experiment]) -> list[Experiment]:
    """Those that can share a house as one each: by what they need, and apart where they prepare something."""
    alike: dict[tuple[type[Experiment] | None, Needs], list[Experiment]] = {}
    for experiment in experiments:
        alone = type(experiment) if experiment.alone else None
        alike.setdefault((alone, experiment.needs), []).append(experiment)
    return [parts[0] if len(parts) == 1 else Together(parts) for parts in alike.values()]
