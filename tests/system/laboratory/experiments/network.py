"""A bad network: one fault of `tests.link` for a while, on every link at once, then on one link after another."""

import threading
from functools import partial
from typing import Final

from tests.link import Link
from tests.system.laboratory.experiment import Experiment
from tests.system.laboratory.floor import Floor
from tests.system.laboratory.needs import Needs

FOR_S: Final = 1.0
DELAY_S: Final = 0.2
BYTES_A_SECOND: Final = 20_000.0
FAULTS: Final = {
    "drop_requests": "what goes to a server is lost",
    "drop_replies": "what comes from a server is lost",
    "delay": f"each piece comes {DELAY_S:g} s later",
    "throttle": f"{BYTES_A_SECOND:,.0f} bytes a second",
    "hung": "half open: the other side has gone without a word",
    "reset": "every connection is broken with RST",
}


class Network(Experiment):
    """One fault."""

    needs = Needs(workers=2, asks=True)
    long = 14

    def __init__(self, fault: str) -> None:
        self._fault = fault
        self.name = f"net_{fault}"
        self.says = FAULTS[fault]
        self._turn = 0

    def strike(self, floor: Floor) -> None:
        """The fault for a second."""
        every = list(floor.links.values())
        links = every if self._turn == 0 else [every[self._turn % len(every)]]
        self._turn += 1
        before = sum(link.struck[self._fault] for link in links)
        for link in links:
            _switch(link, self._fault, on=True)
        threading.Event().wait(FOR_S)
        struck = sum(link.struck[self._fault] for link in links) - before
        for link in links:
            _switch(link, self._fault, on=False)
        floor.fault(self.name, struck)
        floor.go_on()


def _switch(link: Link, fault: str, *, on: bool) -> None:
    if fault == "drop_requests":
        link.drop_requests = on
    elif fault == "drop_replies":
        link.drop_replies = on
    elif fault == "delay":
        link.delay_s = DELAY_S if on else 0.0
    elif fault == "throttle":
        link.bytes_a_second = BYTES_A_SECOND if on else 0.0
    elif fault == "hung":
        if on:
            link.hang()
        link.hung = on
    elif on:
        link.reset()


ALL: Final = tuple(partial(Network, fault) for fault in FAULTS)
