"""The experiments by name, in the order in which all are made."""

from collections.abc import Callable, Mapping
from typing import Final

from tests.system.laboratory.experiment import Experiment
from tests.system.laboratory.experiments import (
    clocks,
    disks,
    freezes,
    kills,
    ministries,
    network,
    operators,
    steps,
    store,
    traffic,
    versions,
)

EXPERIMENTS: Final[Mapping[str, Callable[[], Experiment]]] = {
    make().name: make
    for make in (
        *steps.ALL,
        *network.ALL,
        *freezes.ALL,
        *store.ALL,
        *disks.ALL,
        *clocks.ALL,
        *traffic.ALL,
        *versions.ALL,
        *operators.ALL,
        *ministries.ALL,
        *kills.ALL,
    )
}
