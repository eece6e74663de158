"""A day's traffic through one process of each role, for tests that do something to the store meanwhile."""

import asyncio
import json
from pathlib import Path
from typing import Final

from runtime.embedded import EmbeddedStore
from tests.system.house import PARTITIONS, House, holds, ready, until

MESSAGES: Final = 3000
RATE: Final = 500
"""A second: the day lasts six seconds, time enough to strike twice."""
SLOW: Final = 250
"""Time enough to strike five times, on a busy machine too."""


class Day:
    """The roles of one store, and a replay that runs through them."""

    def __init__(self, house: House, trace: Path) -> None:
        house.furnish()
        self.house = house
        self._trace = trace
        self.store = EmbeddedStore(house.data, memory_mb=256)
        asyncio.run(self.store.start())
        house.at_end(lambda: asyncio.run(self.store.stop()))

    def open(self, *sink: str) -> None:
        """Start the sink and one process of each role."""
        self.sink = self.house.sink(*sink)
        self.ingest = self.house.start("ingest")
        self.worker = self.house.start("process")
        self.dispatcher = self.house.start("dispatch")

    def begin(self, rate: int = RATE) -> None:
        """Start the replay."""
        self.replay = self.house.replay(self._trace, self.ingest.door("ingest"), rate=rate)

    def at(self, messages: int) -> None:
        """Wait until ingest has acknowledged so many; they must not be the last ones."""
        until(lambda: self.house.acknowledged() >= messages, f"{messages} acknowledged")
        assert self.replay.alive, "the replay was over before the fault"

    def end(self) -> dict[str, int]:
        """Let all finish, hold the promises against what is left; what replay, sink and verification counted."""
        assert self.replay.ended() == 0, self.replay.errors()
        until(lambda: ready(self.ingest.door("ingest")).get("spooled") == 0, "the spool is empty")
        until(lambda: holds(self.worker.door("process"), PARTITIONS), "the worker has all partitions")
        until(lambda: holds(self.dispatcher.door("dispatch"), PARTITIONS), "the dispatcher has all partitions")
        for role in (self.ingest, self.worker, self.dispatcher, self.sink):
            role.stop()
        report = self.house.verify()
        assert report["rows"] >= MESSAGES
        assert report["acknowledged"] > MESSAGES * 0.9, "ids of the day are not nearly all distinct"
        assert report["approved"] > 0
        assert report["refused"]["quota"] > 0
        took: dict[str, int] = json.loads(self.sink.errors().removeprefix("sink: "))
        pushed: dict[str, int] = json.loads(self.replay.lines[-1])
        return {"ambiguous": report["ambiguous"], "retries": pushed["retries"], **took}
