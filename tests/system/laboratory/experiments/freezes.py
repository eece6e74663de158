"""SIGSTOP past the claim time, then SIGCONT: a zombie that wakes up with work in its hands."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from itertools import compress
from typing import Final

from lua.keys import DISPATCH_GROUP, Role, partition_keys, tags
from tests.system.house import LEASE_MS, PARTITIONS, until
from tests.system.laboratory.experiment import Experiment
from tests.system.laboratory.floor import Floor
from tests.system.laboratory.needs import Needs

ASLEEP_S: Final = 2 * LEASE_MS / 1000
"""Twice the claim time: the other has all partitions for a whole lease when the sleeper wakes."""
ANSWER_S: Final = 0.3
"""The operator's answer takes so much longer where a dispatcher is to fall asleep over it."""
STORE_S: Final = 6.0
"""Longer than every client's patience with the store: what they sent is carried out after they have given up."""
ROLE_OF: Final[dict[str, Role]] = {"process": "decide", "dispatch": "dispatch"}


class Zombie(Experiment):
    """A worker or a dispatcher that sleeps until another has taken all its partitions."""

    long = 20

    def __init__(self, name: str) -> None:
        self._post = name
        self.name = f"freeze_{name}"
        self.says = f"SIGSTOP of {name} past its lease, then SIGCONT"
        self.needs = Needs(workers=2, dispatchers=2)

    def strike(self, floor: Floor) -> None:
        """One sleep."""
        other = f"{self._post}-2"
        floor.at_work(other)
        until(lambda: len(set(self._owners(floor))) == 2, "two share the partitions")
        sleeper = floor.posts[self._post]
        with self._long_answers(floor):
            floor.at_work(self._post)
            sleeper.signal(signal.SIGSTOP)
        shared, unsettled = self._owners(floor), [_unsettled(floor, tag) for tag in tags(PARTITIONS)]
        threading.Event().wait(ASLEEP_S)
        until(lambda: len(set(self._owners(floor))) == 1, "the other has all partitions")
        taken = [was != now for was, now in zip(shared, self._owners(floor), strict=True)]
        lost = sleeper.said("partition lost")
        sleeper.signal(signal.SIGCONT)
        until(lambda: len(set(self._owners(floor))) == 2, "it has a share again")
        # A worker with a batch is refused by the store; a dispatcher says nothing, but slept over replies in its hands.
        refused, slept_over = sleeper.said("partition lost") - lost, sum(compress(unsettled, taken))
        floor.fault(self.name, int((slept_over if self._post == "dispatch" else refused) > 0))
        floor.go_on()

    @contextmanager
    def _long_answers(self, floor: Floor) -> Generator[None, None, None]:
        """Meanwhile a dispatcher has sent replies of which it does not know yet."""
        link = floor.links["operator"]
        link.delay_s = ANSWER_S if self._post == "dispatch" else 0.0
        yield
        link.delay_s = 0.0

    def _owners(self, floor: Floor) -> list[bytes | None]:
        """Who holds the lease of each partition now."""
        return [floor.ask("GET", partition_keys(tag).lease(ROLE_OF[self._post])) for tag in tags(PARTITIONS)]


def _unsettled(floor: Floor, tag: str) -> int:
    """Replies of a partition that a dispatcher has read, and not acknowledged."""
    return floor.ask("XPENDING", partition_keys(tag).replies, DISPATCH_GROUP)["pending"]


class Stopped(Experiment):
    """A store or an ingest that does nothing for longer than its clients wait."""

    long = 10

    def __init__(self, name: str) -> None:
        self._post = name
        self.name = f"freeze_{name}"
        self.says = f"SIGSTOP of {name} for {STORE_S:g} s, then SIGCONT: what clients gave up is still carried out"

    def strike(self, floor: Floor) -> None:
        """One sleep."""
        post = floor.posts[self._post]
        floor.at_work(self._post)
        post.signal(signal.SIGSTOP)
        worked = post.worked
        threading.Event().wait(STORE_S)
        asked = post.worked - worked
        post.signal(signal.SIGCONT)
        floor.fault(self.name, int(asked > 0))
        # The spool acknowledges also what nobody can decide yet: the next sleep must not begin before it is empty.
        until(lambda: floor.spooled() == 0, "the spool is empty")
        floor.go_on()


ALL: Final = (
    partial(Zombie, "process"),
    partial(Zombie, "dispatch"),
    partial(Stopped, "store"),
)
