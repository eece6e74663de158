"""The wall clock: midnight in Baku, and an hour back."""

from typing import Final

from bench.clock import DAY_MS, HOUR_MS
from bench.preload import why_not
from tests.system.house import until
from tests.system.laboratory.checking import Checked
from tests.system.laboratory.experiment import Experiment
from tests.system.laboratory.floor import Floor
from tests.system.laboratory.needs import Needs

BAKU_MS: Final = 4 * HOUR_MS
BEFORE_MS: Final = 8_000


class Midnight(Experiment):
    """The day ends while SMS come in; some are received before it and pushed after."""

    name = "midnight"
    says = "midnight in Baku under load"
    needs = Needs(clock=True, received_earlier_ms=5_000)
    alone = True
    most = 1

    def why_not(self) -> str | None:
        """The clock is a small library in C."""
        return why_not()

    def prepare(self, floor: Floor) -> None:
        """Seconds before midnight."""
        assert floor.clock is not None
        now = floor.clock.now_ms()
        midnight = ((now + BAKU_MS) // DAY_MS + 1) * DAY_MS - BAKU_MS
        floor.clock.shift(midnight - BEFORE_MS - now)

    def strike(self, floor: Floor) -> None:
        """The midnight, waited for."""
        clock = floor.clock
        assert clock is not None
        day = (clock.now_ms() + BAKU_MS) // DAY_MS
        floor.go_on()
        until(lambda: (clock.now_ms() + BAKU_MS) // DAY_MS > day, "midnight")
        floor.fault(self.name)
        floor.go_on(100)

    def hold(self, floor: Floor, found: Checked) -> None:
        """Records stand under both days."""
        names = {name.rpartition(b":")[2] for name in floor.ask("KEYS", "day:*")}
        assert len(names) == 2, names


class ClockBack(Experiment):
    """The clock of every program steps an hour back, and later on again."""

    name = "clock_back"
    says = "the wall clock of every program steps an hour back"
    needs = Needs(clock=True)
    long = 6

    def why_not(self) -> str | None:
        """The clock is a small library in C."""
        return why_not()

    def strike(self, floor: Floor) -> None:
        """One step back."""
        assert floor.clock is not None
        until(lambda: floor.history.under_way > 0, "a push under way")
        floor.clock.shift(floor.clock.shift_ms - HOUR_MS)
        floor.fault(self.name, int(floor.history.under_way > 0))
        floor.go_on(100)


ALL: Final = (Midnight, ClockBack)
