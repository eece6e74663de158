"""An operator's gateway that misbehaves, in each way it can."""

import json
import threading
from functools import partial
from typing import Final

from tests.system.laboratory.checking import Checked
from tests.system.laboratory.experiment import Experiment
from tests.system.laboratory.floor import Floor
from tests.system.laboratory.needs import Needs

SHARE: Final = "0.2"
KINDS: Final = {
    "retry": ("--retry-share", "retry", False, "a fifth of the replies is answered `retry`"),
    "refuse": ("--refuse-share", "refused", False, "a fifth of the replies is refused for good"),
    "omit": ("--omit-share", "omitted", True, "a fifth of the replies is taken and left out of the answer"),
    "fail": ("--fail-share", "failed_requests", False, "a fifth of the requests is answered 503"),
    "slow_down": ("--slow-down-share", "slowed_requests", False, "a fifth of the requests is answered 429"),
    "drop": ("--drop-after-accept-share", "dropped_requests", True, "a fifth of the requests is taken, not answered"),
    "error": ("--error-after-accept-share", "requests_in_error", True, "a fifth is taken and answered 500"),
    "garble": ("--garble-share", "garbled_requests", True, "a fifth is taken, and its answer cannot be read"),
}
"""The sink's option, what it counts, and whether replies that it took are sent again, marked."""


class Misbehaves(Experiment):
    """One kind, all the time."""

    long = 10

    def __init__(self, kind: str) -> None:
        argument, self._count, self._marks, self.says = KINDS[kind]
        self.name = f"operator_{kind}"
        self.needs = Needs(sink=(argument, SHARE))

    def strike(self, floor: Floor) -> None:
        """Some hundred replies."""
        floor.go_on(150)

    def hold(self, floor: Floor, found: Checked) -> None:
        """How often it has misbehaved, as it says itself; only what it may have taken is marked."""
        assert (found.ambiguous > 0) == self._marks, found.ambiguous
        floor.sink.stop()
        took: dict[str, int] = json.loads(floor.sink.errors().rpartition("sink: ")[2])
        floor.fault(self.name, took[self._count])


class Late(Experiment):
    """Answers that come after our patience."""

    name = "operator_late"
    says = "the operator answers after our patience: what it took is sent again, marked"
    needs = Needs(environ=(("ICAZE_OPERATOR_TIMEOUT_S", "0.5"),))

    def strike(self, floor: Floor) -> None:
        """A second and a half of late answers."""
        link = floor.links["operator"]
        before = link.struck["delay"]
        link.delay_s = 0.6
        threading.Event().wait(1.5)
        link.delay_s = 0.0
        floor.fault(self.name, link.struck["delay"] - before)
        floor.go_on()


ALL: Final = (*(partial(Misbehaves, kind) for kind in KINDS), Late)
