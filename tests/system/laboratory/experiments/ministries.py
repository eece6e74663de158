"""A Ministry that is away for a while, and one that fails in each way it can."""

from typing import Final

from tests.integration.ministry_simulator import Fault
from tests.system.house import until
from tests.system.laboratory.checking import Checked
from tests.system.laboratory.experiment import Experiment
from tests.system.laboratory.floor import SETTLED_S, Floor
from tests.system.laboratory.ministry import Ministry
from tests.system.laboratory.needs import Needs

WAITING: Final = 40
"""Events that wait for a Ministry before it is back; at half of them its dispatcher is killed."""
NOTICED: Final = "the Ministry takes no events"
"""As the dispatcher logs it."""
FAULTS: Final[tuple[Fault, ...]] = ("error", "cut", "closed", "half", "silent")
"""500; taken and cut off; 503; one half of it taken; taken and nothing said of it."""


class Away(Experiment):
    """Nobody is there, while permits are granted, changed and ended."""

    name = "ministry_away"
    says = f"the Ministry is away until {WAITING} events wait for it, and the dispatcher is killed meanwhile"
    needs = Needs(asks=True)

    def strike(self, floor: Floor) -> None:
        """One absence, and all of it told afterwards."""
        floor.at_work("dispatch")
        link, dispatcher = floor.links["ministry"], floor.posts["dispatch"]
        there, link.upstream = link.upstream, ""
        link.reset()
        until(lambda: _waiting(floor) >= WAITING // 2 and dispatcher.said(NOTICED), "a Ministry that is missed")
        dispatcher.kill()
        until(lambda: _waiting(floor) >= WAITING, f"{WAITING} events wait; {floor.last_words()}")
        link.upstream = there
        floor.fault(self.name)
        _told(floor)


class Fails(Experiment):
    """What it has taken and did not say comes again, and it knows it again."""

    name = "ministry_fail"
    says = "the Ministry answers 500 and 503, and takes events without an answer or with half of one"
    needs = Needs(asks=True)

    def strike(self, floor: Floor) -> None:
        """Each fault once, and all of it told afterwards."""
        ministry = _ministry(floor)
        for fault in FAULTS:
            ministry.fail(fault)
            until(lambda: ministry.has_failed, f"a POST for `{fault}`; {floor.last_words()}")
            floor.fault(self.name)
            _told(floor)

    def hold(self, floor: Floor, found: Checked) -> None:
        """It was told some of it again."""
        assert _ministry(floor).repeats > 0, "nothing was repeated"


def _waiting(floor: Floor) -> int:
    """Events that the Ministry has not taken."""
    return sum(floor.ask("XLEN", name) for name in floor.outbox)


def _told(floor: Floor) -> None:
    """Wait until the Ministry has taken all that was numbered for it until now."""
    numbered = sum(int(floor.ask("HGET", name, "numbered") or 0) for name in floor.feed)
    until(lambda: _ministry(floor).taken >= numbered, f"{numbered} events; {floor.last_words()}", within_s=SETTLED_S)


def _ministry(floor: Floor) -> Ministry:
    assert floor.ministry is not None, "a house that asks has one"
    return floor.ministry


ALL: Final = (Away, Fails)
