"""What an experiment is: what it needs, and a strike that says by `Floor.fault` whether it met work under way.

To add one: a class in `experiments/`, and its name in the list there.
"""

import sys
from typing import ClassVar

from tests.system.laboratory.checking import Checked
from tests.system.laboratory.floor import Floor
from tests.system.laboratory.needs import Needs


class Experiment:
    """One fault. An instance is used for one run of the laboratory."""

    name: str
    says: str
    """One line for the list."""
    needs: Needs = Needs()
    alone: ClassVar[bool] = False
    """Whether it needs a house of its own, also where others need a like one."""
    small: ClassVar[int] = 1
    """Strikes in the tests."""
    long: ClassVar[int] = 20
    """Strikes of `make chaos`."""
    most: ClassVar[int] = sys.maxsize
    """Strikes that one house can take."""

    @property
    def strikes(self) -> tuple[str, ...]:
        """Under which names it counts its strikes."""
        return (self.name,)

    @property
    def not_looked_at(self) -> frozenset[str]:
        """Invariants of which nothing need be there to see: where nobody asks the api, nothing is shown or acted on."""
        return frozenset() if self.needs.asks else frozenset(("I9", "I10"))

    def why_not(self) -> str | None:
        """Why it cannot be made on this machine; None where it can."""
        return None

    def prepare(self, floor: Floor) -> None:
        """Before anything starts."""

    def strike(self, floor: Floor) -> None:
        """The fault, once; `floor.fault` counts it where it has met work. Returns with the fault taken back."""
        raise NotImplementedError

    def hold(self, floor: Floor, found: Checked) -> None:
        """What must be true besides, after the checks; AssertionError where it is not."""

    def allow(self, found: Checked) -> None:
        """Take out of the findings what the level does not promise, and measure it instead."""
