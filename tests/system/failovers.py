"""Slots that move and servers that fail under load: `python -m tests.system.failovers --rate 1000 --seconds 30`.

A Cluster or a pair under three sentinels, one process of each role, and a steady day's SMS; the fault strikes
meanwhile. Whatever it is, every promise that `icaze verify` and `tests.system.checker` check holds. Where a replica
takes over the level is `replicated`: below, what a master did last may be gone, and nobody promises it. Prints a line a
fault, with its longest stalls.
"""

import argparse
import json
import signal
import subprocess
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.cluster import Cluster, Server, cluster
from lua.keys import SLOTS, partition_keys, slot, tags
from lua.library import LIBRARY
from tests.system.busy_day import BusyDay
from tests.system.house import ICAZE, PARTITIONS, House, until
from tests.system.sentinels import Pair, pair

RATE: Final = 500
"""SMS a second: a day of 3,000 lasts six seconds, time enough to strike once."""
SLOW: Final = 250
"""Time enough to strike twice, on a busy machine too."""
SENTINELS_S: Final = 100.0
"""Until sentinels have replaced a master, or told an old one: they look every ten seconds who is master, let a wrong
answer stand for eight, and may begin anew on a busy machine."""
MOVED: Final = (0, SLOTS // 3 - 100)
"""Not all of the first node's: a primary without a slot becomes a replica of whoever took the last."""
INBOUND: Final = [partition_keys(tag).inbound for tag in tags(PARTITIONS)]


@contextmanager
def three(folder: Path) -> Generator[Cluster, None, None]:
    """Three primaries."""
    with cluster(folder) as formed:
        yield formed


@contextmanager
def six(folder: Path) -> Generator[Cluster, None, None]:
    """Three primaries, each with a replica that it needs."""
    with cluster(folder, replicas=3) as formed:
        _need_replicas(formed.servers)
        yield formed


@contextmanager
def watched(folder: Path) -> Generator[Pair, None, None]:
    """A pair under three sentinels; the master needs its replica."""
    with pair(folder) as formed:
        _need_replicas(formed.servers)
        yield formed


def _need_replicas(servers: Sequence[Server]) -> None:
    """None of them takes a write that no replica hears of; a start anew keeps it so."""
    for server in servers:
        server.client.config_set("min-replicas-to-write", 1)
        server.keep("min-replicas-to-write", "1")


def slots_move(busy: BusyDay, formed: Cluster) -> None:
    """A third of the partitions goes to another primary and comes back; neither knows the functions."""
    first, second, _ = formed.primaries
    moving = [tag for tag in tags(PARTITIONS) if slot(tag) <= MOVED[1]]
    assert 1 < len(moving) < PARTITIONS
    for share, source, aim in ((0.17, first, second), (0.43, second, first)):
        busy.at(share)
        source.client.execute_command("FUNCTION", "FLUSH")  # what a node that has just joined looks like
        aim.client.execute_command("FUNCTION", "FLUSH")
        _migrate(formed, source, aim, MOVED)
        assert all(formed.owner(slot(tag)) is aim for tag in moving)
        until(lambda aim=aim: _has_functions(aim), "the new owner has the functions")


def primary_killed(busy: BusyDay, formed: Cluster) -> None:
    """One primary dies; it comes back as its replica's replica."""
    one = slot(tags(PARTITIONS)[0])
    victim = formed.owner(one)
    busy.at(0.23)
    victim.kill()
    until(lambda: formed.owner(one) is not victim, "its replica takes over")
    victim.start()
    until(lambda: _is_linked(victim), "it follows its replica now")


def primary_stopped(busy: BusyDay, formed: Cluster) -> None:
    """One primary sleeps, is replaced, and wakes."""
    one = slot(tags(PARTITIONS)[0])
    victim = formed.owner(one)
    busy.at(0.17)
    victim.signal(signal.SIGSTOP)
    until(lambda: formed.owner(one) is not victim, "its replica takes over")
    victim.signal(signal.SIGCONT)
    until(lambda: _is_linked(victim), "it follows its replica now")


def master_killed(busy: BusyDay, formed: Pair) -> None:
    """The master dies; it comes back as a replica."""
    busy.at(0.17)
    victim = formed.master
    victim.kill()
    until(lambda: formed.master is not victim, "the replica takes over", within_s=SENTINELS_S)
    acknowledged = busy.house.acknowledged()
    until(lambda: busy.house.acknowledged() > acknowledged + 100, "SMS are taken meanwhile, into the spool")
    victim.start()
    until(lambda: _is_followed(formed), "whoever is no master follows it", within_s=SENTINELS_S)
    until(lambda: formed.is_ready, "the sentinels know it")


def master_stopped(busy: BusyDay, formed: Pair) -> None:
    """The master sleeps, is replaced, and wakes."""
    busy.at(0.17)
    victim = formed.master
    victim.signal(signal.SIGSTOP)
    until(lambda: formed.master is not victim, "the replica takes over", within_s=SENTINELS_S)
    victim.signal(signal.SIGCONT)
    until(lambda: _is_followed(formed), "whoever is no master follows it", within_s=SENTINELS_S)


class Fault(msgspec.Struct, frozen=True):
    """What strikes, and where."""

    strikes: Callable[[BusyDay, Any], None]
    store: Callable[[Path], Any]
    level: str = "replicated"
    rate: int = RATE


FAULTS: Final = {
    "slots_move": Fault(slots_move, three, "fsync", SLOW),
    "primary_killed": Fault(primary_killed, six, rate=SLOW),
    "primary_stopped": Fault(primary_stopped, six),
    "master_killed": Fault(master_killed, watched, rate=SLOW),
    "master_stopped": Fault(master_stopped, watched),
}


def struck(name: str, house: House, trace: Path, folder: Path, *, rate: int | None = None) -> dict[str, int]:
    """A day on which it strikes; what was counted, AssertionError where a promise is broken."""
    fault = FAULTS[name]
    with fault.store(folder) as formed:
        busy = BusyDay(house, trace, formed.url, level=fault.level)
        busy.begin(rate or fault.rate, _data(formed))
        fault.strikes(busy, formed)
        counts = busy.end(_data(formed))
        if isinstance(formed, Pair):  # whoever woke up was not written to any more
            assert sum(server.client.xlen(stream) for server in formed.servers for stream in INBOUND) == 0
    return counts


def _data(formed: Cluster | Pair) -> str:
    """Where the data stands now, as the checker takes it: all primaries, or whoever is master."""
    return f"redis://{formed.master.host}" if isinstance(formed, Pair) else formed.url


def _migrate(formed: Cluster, source: Server, aim: Server, slots: tuple[int, int]) -> None:
    """Move slots with all they hold; returns when the aim owns them."""
    name = aim.client.execute_command("CLUSTER", "MYID")
    source.client.execute_command("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", *slots, "NODE", name)
    until(lambda: all(formed.owner(one) is aim for one in slots), "the slots have moved")


def _has_functions(server: Server) -> bool:
    """Whether our library is loaded there."""
    return LIBRARY.encode() in str(server.client.execute_command("FUNCTION", "LIST")).encode()


def _is_linked(server: Server) -> bool:
    """Whether a server follows another."""
    return server.client.info("replication").get("master_link_status") == "up"


def _is_followed(formed: Pair) -> bool:
    """Whether the other follows the master, which may be the old one again: a busy machine's new one was silent too."""
    master = formed.master
    return all(_is_linked(server) for server in formed.servers if server is not master)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.system.failovers", description=__doc__)
    parser.add_argument("--rate", type=int, default=1000, help="SMS a second (default %(default)s, N1's peak second)")
    parser.add_argument("--seconds", type=float, default=30.0, help="of load for each fault (default %(default)s)")
    parser.add_argument("--only", action="append", choices=sorted(FAULTS), help="this fault; repeatable")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="icaze-") as name:
        trace = Path(name) / "day.ndjson"
        words = ["day", "--messages", str(int(asked.rate * asked.seconds)), "--seed", "9", "--mix", "steady"]
        subprocess.run([*ICAZE, *words, "-o", str(trace)], check=True, timeout=600)
        for fault in asked.only or FAULTS:
            folder = Path(name) / fault
            folder.mkdir()
            house = House(folder)
            try:
                counts = struck(fault, house, trace, folder / "s", rate=asked.rate)
            finally:
                house.close()
            print(json.dumps({"fault": fault, "rate": asked.rate, "seconds": asked.seconds, **counts}), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
