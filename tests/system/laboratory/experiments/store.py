"""Somebody else's hand in the store: connections killed, functions flushed, memory used up."""

import threading
from typing import Final

from lua.library import LIBRARY
from tests.system.house import until
from tests.system.laboratory.experiment import Experiment
from tests.system.laboratory.floor import Floor

EVERY_S: Final = 0.1
KILLS: Final = 20


class ClientKills(Experiment):
    """CLIENT KILL of everybody, ten times a second."""

    name = "client_kill"
    says = f"CLIENT KILL of every connection, each {EVERY_S:g} s, {KILLS} times"

    def strike(self, floor: Floor) -> None:
        """One storm."""
        killed = 0
        for _ in range(KILLS):
            threading.Event().wait(EVERY_S)
            killed += floor.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        floor.fault(self.name, killed)
        floor.go_on()


class FunctionFlush(Experiment):
    """The library is gone, under load."""

    name = "function_flush"
    says = "FUNCTION FLUSH: whoever misses the library loads it again"

    def strike(self, floor: Floor) -> None:
        """One flush."""
        until(lambda: _loaded(floor), "the library")
        floor.ask("FUNCTION", "FLUSH")
        floor.fault(self.name)
        until(lambda: _loaded(floor), "the library, loaded again")
        floor.go_on()


class MemoryFull(Experiment):
    """No memory for a while."""

    name = "memory_full"
    says = "maxmemory below what is used, for a second: no append is taken, what waits is decided and sent"

    def strike(self, floor: Floor) -> None:
        """One second without memory."""
        before = _refused(floor)
        floor.ask("CONFIG", "SET", "maxmemory", "1mb")
        threading.Event().wait(1.0)
        struck = _refused(floor) - before
        floor.ask("CONFIG", "SET", "maxmemory", f"{floor.needs.memory_mb}mb")
        floor.fault(self.name, struck)
        floor.go_on()


def _loaded(floor: Floor) -> bool:
    return bool(floor.ask("FUNCTION", "LIST", "LIBRARYNAME", LIBRARY))


def _refused(floor: Floor) -> int:
    """Commands that were refused for want of memory, since the store's start."""
    told = floor.ask("INFO", "errorstats").get("errorstat_OOM", {"count": 0})
    return int(told["count"])


ALL: Final = (ClientKills, FunctionFlush, MemoryFull)
