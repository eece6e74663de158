"""kill -9 at random moments: of one role, and of all of them mixed, in one house that starts again what dies."""

import threading
from functools import partial
from typing import Final

from tests.system.house import until
from tests.system.laboratory.experiment import Experiment
from tests.system.laboratory.floor import Floor
from tests.system.laboratory.needs import Needs

ROLES: Final = ("process", "ingest", "dispatch", "api", "store")
PAUSE_S: Final = (0.02, 0.5)
"""Between two kills of the mixed run, at random; a victim must have begun work since its start."""


class Kill(Experiment):
    """One role, killed at a random moment, and served again before the next time."""

    long = 25

    def __init__(self, role: str) -> None:
        self._role = role
        self.name = f"kill_{role}"
        self.says = f"kill -9 of {role} at random moments"
        self.needs = Needs(asks=True)

    def strike(self, floor: Floor) -> None:
        """One kill, through which all others live."""
        floor.at_work(self._role)
        others = {name: post.starts for name, post in floor.posts.items() if name != self._role}
        threading.Event().wait(floor.draw.uniform(0, 0.3))
        victim = floor.posts[self._role]
        starts = victim.starts
        floor.fault(self.name, victim.kill())
        until(lambda: victim.starts > starts, f"{self._role} again; {floor.last_words()}")
        floor.at_work(self._role)
        floor.go_on()
        assert others == {name: floor.posts[name].starts for name in others}, "another ended with it"


class Kills(Experiment):
    """All roles, two workers and two dispatchers among them, killed without waiting for anything."""

    name = "kills"
    says = "kill -9 of every role mixed, as fast as they begin work; nobody waits for a recovery"
    needs = Needs(workers=2, dispatchers=2, asks=True, rate=300.0)
    small = 8
    long = 1500

    @property
    def strikes(self) -> tuple[str, ...]:
        """One name a victim."""
        return tuple(f"kill_{name}" for name in (*ROLES, "process-2", "dispatch-2"))

    def strike(self, floor: Floor) -> None:
        """One kill of whoever works."""
        threading.Event().wait(floor.draw.uniform(*PAUSE_S))
        victim = floor.one_at_work()
        floor.fault(f"kill_{victim.name}", victim.kill())


ALL: Final = (*(partial(Kill, role) for role in ROLES), Kills)
