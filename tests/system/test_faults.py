"""A day's traffic while processes are killed, frozen and lied to: every promise that `icaze verify` checks holds."""

import asyncio
import json
import random
import signal
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pytest

from runtime.embedded import EmbeddedStore
from tests.system.house import PARTITIONS, House, Running, holds, until

MESSAGES: Final = 3000
RATE: Final = 500
"""A second: the day lasts six seconds, time enough to strike twice."""
SLOW: Final = 250
"""Time enough to strike five times, on a busy machine too."""
FAST: Final = 2000
"""Where nothing has to be struck."""


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


@pytest.fixture
def busy(house: House, day: Path) -> Day:
    """A store on disk; the roles are the test's to open."""
    return Day(house, day)


def again(house: House, victim: Running, role: str, environ: Mapping[str, str] = MappingProxyType({})) -> Running:
    """Kill a process as a crash would, and start another in its place."""
    victim.kill()
    born = house.start(role, environ)
    assert born.pid != victim.pid
    return born


def test_a_worker_killed_five_times_at_random_moments_loses_and_repeats_nothing(busy: Day) -> None:
    busy.open()
    busy.begin(SLOW)
    for strike in range(5):
        busy.at(300 + 400 * strike + random.randrange(200))
        busy.worker = again(busy.house, busy.worker, "process")
    busy.end()


def test_a_worker_that_slept_past_its_lease_decides_nothing_when_it_wakes(busy: Day) -> None:
    busy.open()
    other = busy.house.start("process")
    until(lambda: holds(other.door("process"), PARTITIONS // 2), "the second worker has its share")
    busy.begin(SLOW)  # it wakes after its lease, and must then find something to decide
    busy.at(600)
    busy.worker.signal(signal.SIGSTOP)
    until(lambda: holds(other.door("process"), PARTITIONS), "the awake worker takes all partitions")
    busy.worker.signal(signal.SIGCONT)
    until(lambda: "partition lost" in busy.worker.errors(), "it wakes, tries to decide, and is refused")
    until(lambda: holds(busy.worker.door("process"), PARTITIONS // 2), "the one that slept has a share again")
    other.stop()
    busy.end()


def test_a_dispatcher_killed_twice_sends_every_reply_and_marks_what_it_may_have_sent_before(busy: Day) -> None:
    busy.open("--latency-ms", "200")
    busy.begin()
    for messages in (700, 1900):
        busy.at(messages)
        busy.dispatcher = again(busy.house, busy.dispatcher, "dispatch")
    counts = busy.end()
    assert counts["ambiguous"] > 0, "no send was under way when the dispatcher was killed"


def test_ingest_killed_while_aggregators_push_loses_nothing_that_it_acknowledged(busy: Day) -> None:
    busy.open()
    port = busy.ingest.door("ingest").rpartition(":")[2]
    busy.begin()
    for messages in (700, 1900):
        busy.at(messages)
        busy.ingest = again(busy.house, busy.ingest, "ingest", {"ICAZE_INGEST_PORT": port})
    counts = busy.end()
    assert counts["retries"] > 0, "the replay has not noticed"


def test_a_store_killed_and_started_again_finds_every_role_going_on_by_itself(busy: Day) -> None:
    busy.open()
    busy.begin()
    roles = [role.pid for role in (busy.ingest, busy.worker, busy.dispatcher)]
    for messages in (700, 1900):
        busy.at(messages)
        was = busy.store.pid
        busy.store.kill()
        asyncio.run(busy.store.start())
        assert busy.store.pid != was
    counts = busy.end()
    assert counts["retries"] == 0, "the spool has not helped"
    assert busy.ingest.errors().count("spooling begins") == 2, "the writes have not noticed"
    assert [role.pid for role in (busy.ingest, busy.worker, busy.dispatcher)] == roles


@pytest.mark.parametrize(
    ("fault", "struck", "marks"),
    [
        ("--drop-after-accept-share", "dropped_requests", True),
        ("--retry-share", "retry", False),
        ("--fail-share", "failed_requests", False),
    ],
)
def test_an_operator_that_misbehaves_gets_every_reply_and_no_second_one_unmarked(
    busy: Day, fault: str, struck: str, marks: bool
) -> None:
    busy.open(fault, "0.2")
    busy.begin(FAST)
    counts = busy.end()
    assert counts[struck] > 0, "it has behaved"
    assert (counts["ambiguous"] > 0) == marks
