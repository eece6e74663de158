"""What a step costs, counted and not timed: function calls and lines of ours, commands, round trips, bytes."""

import gc
import sys
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from lua.store import Store
from runtime.connection import TIMEOUT_S, Wire


@contextmanager
def counted(folder: str = "") -> Generator[Counter[str], None, None]:
    """Counts the function calls (Python's and C's) and the lines run, of files in `folder` alone where one is named."""
    counts = Counter[str]()

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event in ("call", "c_call") and folder in frame.f_code.co_filename:
            counts["calls"] += 1

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            counts["lines"] += 1
        return trace if folder in frame.f_code.co_filename else None

    before = sys.getprofile(), sys.gettrace()
    gc.disable()  # what a collection calls is nobody's doing
    sys.settrace(trace)
    sys.setprofile(profile)
    try:
        yield counts
    finally:
        sys.setprofile(before[0])
        sys.settrace(before[1])
        gc.enable()


class CountingWire(Wire):
    """A wire that counts its round trips."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.round_trips = 0

    async def call(self, *commands: Any, timeout_s: float = TIMEOUT_S, replicas: int = 0) -> list[Any]:
        """As the wire's."""
        self.round_trips += 1
        return await super().call(*commands, timeout_s=timeout_s, replicas=replicas)


async def server_counts(store: Store) -> Counter[str]:
    """What a server has done since its start: commands, those inside functions too, bytes on the wire and on disk."""
    calls = await store.execute_command("INFO", "commandstats")
    net = await store.execute_command("INFO", "stats")
    disk = await store.execute_command("INFO", "persistence")
    return Counter(
        {
            "commands": sum(told["calls"] for name, told in calls.items() if name != "cmdstat_info"),
            "bytes in": net["total_net_input_bytes"],
            "bytes out": net["total_net_output_bytes"],
            "AOF bytes": disk["aof_current_size"],
        }
    )


async def kept_bytes(store: Store, *patterns: str) -> int:
    """Memory of all keys of some patterns, names and whole values counted."""
    names = [name for pattern in patterns for name in await store.execute_command("KEYS", pattern)]
    return sum([await store.execute_command("MEMORY", "USAGE", name, "SAMPLES", 0) for name in names])
