"""`icaze up` when its own processes are killed: they are started again, and nothing taken in is lost."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.system.house import House, Running, child, descendants, exists, ready, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")

STOP_S = 15.0


def struck(up: Running, name: str) -> int:
    """Kill one process of an `up`; the id of the one that stands in its place."""
    was = child(up.pid, name)
    os.kill(was, signal.SIGKILL)
    return child(up.pid, name, other_than=was)


def test_each_process_that_is_killed_is_started_again_behind_its_door_and_traffic_goes_on(
    house: House, day: Path
) -> None:
    house.sink()
    up = house.start("up")
    doors = {role: up.door(role) for role in ("ingest", "process", "dispatch", "api")}
    replay = house.replay(day, doors["ingest"], rate=400)
    for strike, name in enumerate(("process", "dispatch", "store", "api", "ingest")):
        until(lambda strike=strike: house.acknowledged() > 300 + 450 * strike, f"traffic, to kill {name} in")
        assert replay.alive, "the replay was over before the fault"
        assert struck(up, name) > 0
    assert replay.ended() == 0, replay.errors()
    for role, door in doors.items():
        until(lambda door=door: ready(door).get("ready"), f"{role} is ready at its door")
    up.stop(within_s=STOP_S)
    house.start("up")
    assert house.verify()["acknowledged"] > 2700


def test_a_stop_right_after_a_crash_does_not_wait_for_the_role_that_is_not_there(house: House) -> None:
    up = house.start("up")
    os.kill(child(up.pid, "process"), signal.SIGKILL)
    until(lambda: any("starting it again" in line for line in up.lines), "the crash is noticed")
    before = descendants(up.pid)
    up.stop(within_s=STOP_S)
    assert not [pid for pid in before if exists(pid)]


def test_a_role_that_keeps_crashing_ends_everything_with_its_reason(house: House) -> None:
    up = house.start("up")
    pid = 0
    for _ in range(3):
        pid = child(up.pid, "process", other_than=pid)
        os.kill(pid, signal.SIGKILL)
    assert up.ended(within_s=STOP_S) == 1
    assert up.errors().splitlines()[-1].startswith("icaze: process keeps ending")


def test_killed_itself_it_takes_everything_with_it_and_the_next_start_loses_nothing(house: House, day: Path) -> None:
    house.sink()
    up = house.start("up")
    ports = {f"ICAZE_{role.upper()}_PORT": up.door(role).rpartition(":")[2] for role in ("ingest", "process", "api")}
    replay = house.replay(day, up.door("ingest"), rate=1000)
    until(lambda: house.acknowledged() > 500, "traffic")
    before = descendants(up.pid)
    assert len(before) == 5, before
    up.kill()
    up = house.start("up", ports)  # at once, on the same ports, as a supervisor would
    assert replay.ended() == 0, replay.errors()
    until(lambda: not [pid for pid in before if exists(pid)], "what it had started has ended")
    assert ready(up.door("ingest"))["ready"]
    up.stop(within_s=STOP_S)
    house.start("up")
    assert house.verify()["acknowledged"] > 2700


def test_a_role_ends_when_whoever_supervises_it_is_gone(house: House) -> None:
    up = house.start("up")
    for role in ("ingest", "process", "dispatch", "api"):
        ours, theirs = os.pipe()
        with os.fdopen(ours), os.fdopen(theirs, "wb") as parent:
            lone = house.start(role, stdin=ours, environ={"ICAZE_SUPERVISED": "1"})
            assert lone.alive
            parent.close()
            assert lone.ended(within_s=STOP_S) == 0
    assert up.alive
