"""SIGSTOP past the claim time, then SIGCONT: a zombie that wakes up with work in its hands."""

import signal
import threading
from functools import partial
from typing import Final

from lua.keys import Role, partition_keys, tags
from tests.system.house import LEASE_MS, PARTITIONS, until
from tests.system.laboratory.experiment import Experiment
from tests.system.laboratory.floor import Floor
from tests.system.laboratory.needs import Needs

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
        floor.at_work(self._post, other)
        until(lambda: len(self._owners(floor)) == 2, "two share the partitions")
        floor.posts[self._post].signal(signal.SIGSTOP)
        threading.Event().wait(LEASE_MS / 1000)
        until(lambda: len(self._owners(floor)) == 1, "the other has all partitions")
        sleeper = floor.posts[self._post]
        lost = sleeper.said("partition lost")
        sleeper.signal(signal.SIGCONT)
        until(lambda: len(self._owners(floor)) == 2, "it has a share again")
        # A dispatcher that may not send any more says nothing; a worker is refused by the store, if it had a batch.
        floor.fault(self.name, int(self._post == "dispatch" or sleeper.said("partition lost") > lost))
        floor.go_on()

    def _owners(self, floor: Floor) -> set[bytes | None]:
        """Who holds the leases now."""
        return {floor.ask("GET", partition_keys(tag).lease(ROLE_OF[self._post])) for tag in tags(PARTITIONS)}


class Stopped(Experiment):
    """A store or an ingest that does nothing for longer than its clients wait."""

    long = 10

    def __init__(self, name: str) -> None:
        self._post = name
        self.name = f"freeze_{name}"
        self.says = f"SIGSTOP of {name} for {STORE_S:g} s, then SIGCONT: what clients gave up is still carried out"

    def strike(self, floor: Floor) -> None:
        """One sleep."""
        floor.at_work(self._post)
        floor.posts[self._post].signal(signal.SIGSTOP)
        threading.Event().wait(STORE_S)
        floor.posts[self._post].signal(signal.SIGCONT)
        floor.fault(self.name)
        # The spool acknowledges also what nobody can decide yet: the next sleep must not begin before it is empty.
        until(lambda: floor.spooled() == 0, "the spool is empty")
        floor.go_on()


ALL: Final = (
    partial(Zombie, "process"),
    partial(Zombie, "dispatch"),
    partial(Stopped, "store"),
)
