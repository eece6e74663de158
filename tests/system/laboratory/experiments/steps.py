"""kill -9 at a named step inside one exchange, as the link between two programs sees it."""

import threading
from functools import partial
from typing import Final

from lua import library
from tests.link import Step, Trap
from tests.system.house import until
from tests.system.laboratory.checking import Checked
from tests.system.laboratory.experiment import Experiment
from tests.system.laboratory.floor import Floor

STEPS: Final[tuple[tuple[str, str, str, bytes, Step, str], ...]] = (
    ("ingest_append_not_asked", "ingest", "ingest", b"XADD", "asked", "before the append has left"),
    ("ingest_append_answered", "ingest", "ingest", b"XADD", "answered", "after the append, before its answer"),
    (
        "process_decide_not_asked",
        "process",
        "process",
        library.DECIDE.encode(),
        "asked",
        "before the call of decide has left",
    ),
    (
        "process_decide_answered",
        "process",
        "process",
        library.DECIDE.encode(),
        "answered",
        "after decide, before its answer is read",
    ),
    ("dispatch_not_posted", "dispatch", "operator", b"POST /", "asked", "before the operator has the replies"),
    (
        "dispatch_accepted",
        "dispatch",
        "operator",
        b"POST /",
        "answered",
        "after the operator took them, before we know",
    ),
    ("dispatch_not_recorded", "dispatch", "dispatch", b"XACK", "asked", "after we know, before it is recorded"),
    ("dispatch_recorded", "dispatch", "dispatch", b"XACK", "answered", "after it is recorded, before we know that"),
    ("store_append_asked", "store", "ingest", b"XADD", "asked", "when an append is on its way to it"),
    ("store_append_answered", "store", "ingest", b"XADD", "answered", "when its answer to an append is on its way"),
    ("store_decide_answered", "store", "process", library.DECIDE.encode(), "answered", "when decide has been answered"),
)


class KillAt(Experiment):
    """One victim, killed when a word passes a link; that piece is lost."""

    def __init__(self, name: str, victim: str, link: str, word: bytes, step: Step, when: str) -> None:
        self.name = f"at_{name}"
        self.says = f"kill -9 of {victim} {when}"
        self._victim, self._link, self._word = victim, link, word
        self._step: Step = step

    def strike(self, floor: Floor) -> None:
        """One kill, by the trap."""
        floor.at_work(self._victim)
        sprung = threading.Event()
        victim, killed = floor.posts[self._victim], list[bool]()

        def spring() -> None:
            killed.append(victim.kill())
            sprung.set()

        floor.links[self._link].traps.append(Trap(self._word, self._step, spring))
        until(sprung.is_set, "the step")
        floor.fault(self.name, sum(killed))
        floor.at_work(self._victim)
        floor.go_on()

    def hold(self, floor: Floor, found: Checked) -> None:
        """What the operator had taken is sent again with a mark."""
        if self.name == "at_dispatch_accepted":
            assert found.ambiguous > 0, "nothing was marked"


ALL: Final = tuple(partial(KillAt, *step) for step in STEPS)
