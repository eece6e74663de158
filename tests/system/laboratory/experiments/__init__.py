"""The experiments by name, in the order in which all are made."""

from collections.abc import Callable, Mapping
from typing import Final

from tests.system.laboratory.experiment import Experiment
from tests.system.laboratory.experiments import kills, steps

EXPERIMENTS: Final[Mapping[str, Callable[[], Experiment]]] = {
    make().name: make
    for make in (
        *kills.ALL,
        *steps.ALL,
    )
}
