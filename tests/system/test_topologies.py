"""The same roles on a pair under three sentinels and on a Cluster: a day's traffic while a master dies, a primary dies,
slots move and a node joins. Every promise that `icaze verify` checks holds; each test prints the longest stall.

Where a replica takes over the level is `replicated`: below, what a master did last may be gone, and nobody promises it.
"""

import json
import signal
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest

from bench.cluster import Cluster, Server, cluster
from lua.keys import SLOTS, partition_keys, slot, tags
from lua.library import LIBRARY
from tests.system.busy_day import RATE, SLOW, Day
from tests.system.house import PARTITIONS, House, until
from tests.system.sentinels import Pair, pair

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")]

MOVED: Final = (0, SLOTS // 3 - 100)
"""Not all of the first node's: a primary without a slot becomes a replica of whoever took the last."""
INBOUND: Final = [partition_keys(tag).inbound for tag in tags(PARTITIONS)]


class FarDay(Day):
    """A day on a store that somebody else runs."""

    def __init__(self, house: House, trace: Path, url: str, *, level: str = "fsync") -> None:
        house.furnish()
        house.environ |= {"ICAZE_REDIS_URL": url, "ICAZE_DURABILITY": level}
        self.house = house
        self._trace = trace

    def end(self) -> dict[str, int]:
        """As `Day.end`, and says how long nothing was acknowledged and nothing sent."""
        counts = super().end()
        print(f"\nlongest stall: acknowledging {_gap_ms(self.house.journal, 'acked_ms')} ms, ", end="")
        print(f"sending {_gap_ms(self.house.sink_log, 'at_ms')} ms; {counts}")
        return counts


def _gap_ms(path: Path, name: str) -> int:
    moments = sorted(json.loads(line)[name] for line in path.read_text().splitlines())
    return max(after - before for before, after in pairwise(moments))


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Cluster]:
    """Three primaries."""
    with cluster(tmp_path / "c") as formed:
        yield formed


@pytest.fixture
def six(tmp_path: Path) -> Iterator[Cluster]:
    """Three primaries, each with a replica that it needs."""
    with cluster(tmp_path / "c", replicas=3) as formed:
        need_replicas(formed.servers)
        yield formed


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Pair]:
    """A pair under three sentinels; the master needs its replica."""
    with pair(tmp_path / "p") as formed:
        need_replicas(formed.servers)
        yield formed


def need_replicas(servers: Sequence[Server]) -> None:
    """None of them takes a write that no replica hears of; a start anew keeps it so."""
    for server in servers:
        server.client.config_set("min-replicas-to-write", 1)
        server.keep("min-replicas-to-write", "1")


def story(house: House, url: str) -> None:
    """`icaze up` on the store: an SMS is approved, its repeat on the same day refused, and the api sees the permit."""
    house.environ |= {"ICAZE_REDIS_URL": url}
    house.sink()
    up = house.start("up")
    port = up.door("ingest").rpartition(":")[2]

    def ask(text: str) -> dict[str, Any]:
        done = house.call("send", text, "--from", "+994501234567", "--json", ICAZE_INGEST_PORT=port)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    for number in range(1111111, 1111115):  # of partitions that lie on several nodes
        assert ask(f"2 AZE {number}")["verdict"] == "approved"
    assert ask("2 AZE 1111111")["reason"] == "quota"
    token = house.call("token", "--role", "mygov").stdout.strip()
    question = urllib.request.Request(  # noqa: S310
        up.door("api") + "/v1/status",
        data=b'{"document": "AZE1111111"}',
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
    )
    with urllib.request.urlopen(question, timeout=10) as answer:  # noqa: S310
        assert [permit["status"] for permit in json.loads(answer.read())["permits"]] == ["refused", "active"]
    up.stop()


def test_up_serves_the_main_job_on_a_cluster(house: House, three: Cluster) -> None:
    story(house, three.url)


def test_up_serves_the_main_job_on_a_pair_under_sentinels(house: House, watched: Pair) -> None:
    story(house, watched.url)


@pytest.mark.timeout(240)
def test_slots_that_move_under_load_lose_and_repeat_nothing(house: House, day: Path, three: Cluster) -> None:
    first, second, _ = three.primaries
    moving = [tag for tag in tags(PARTITIONS) if slot(tag) <= MOVED[1]]
    assert 1 < len(moving) < PARTITIONS
    busy = FarDay(house, day, three.url)
    busy.open()
    busy.begin(SLOW)
    for messages, source, aim in ((500, first, second), (1300, second, first)):
        busy.at(messages)
        source.client.execute_command("FUNCTION", "FLUSH")  # what a node that has just joined looks like
        aim.client.execute_command("FUNCTION", "FLUSH")
        migrate(three, source, aim, MOVED)
        assert all(three.owner(slot(tag)) is aim for tag in moving)
        until(lambda aim=aim: has_functions(aim), "the new owner has the functions")
    busy.end()


@pytest.mark.timeout(240)
def test_a_primary_that_is_killed_loses_and_repeats_nothing(house: House, day: Path, six: Cluster) -> None:
    victim = six.owner(slot(tags(PARTITIONS)[0]))
    busy = FarDay(house, day, six.url, level="replicated")
    busy.open()
    busy.begin(SLOW)
    busy.at(700)
    victim.kill()
    until(lambda: six.owner(slot(tags(PARTITIONS)[0])) is not victim, "its replica takes over")
    victim.start()
    until(lambda: is_linked(victim), "it follows its replica now")
    busy.end()


@pytest.mark.timeout(240)
def test_a_master_that_is_killed_and_one_that_wakes_up_lose_and_repeat_nothing(
    house: House, day: Path, watched: Pair
) -> None:
    busy = FarDay(house, day, watched.url, level="replicated")
    busy.open()
    busy.begin(SLOW)
    busy.at(500)
    victim = watched.master
    victim.kill()
    until(lambda: watched.master is not victim, "the replica takes over")
    acknowledged = house.acknowledged()
    until(lambda: house.acknowledged() > acknowledged + 100, "SMS are taken meanwhile, into the spool")
    victim.start()
    until(lambda: is_linked(victim), "the old master follows the new one")
    until(lambda: watched.is_ready, "the sentinels know it")
    busy.end()


def test_a_master_that_is_stopped_for_a_while_is_written_to_no_more(house: House, day: Path, watched: Pair) -> None:
    busy = FarDay(house, day, watched.url, level="replicated")
    busy.open()
    busy.begin(RATE)
    busy.at(500)
    victim = watched.master
    victim.signal(signal.SIGSTOP)
    until(lambda: watched.master is not victim, "the replica takes over")
    victim.signal(signal.SIGCONT)
    until(lambda: is_linked(victim), "the old master follows the new one")
    busy.end()
    assert sum(victim.client.xlen(stream) for stream in INBOUND) == 0


@pytest.mark.timeout(240)
def test_a_primary_that_is_stopped_for_a_while_is_written_to_no_more(house: House, day: Path, six: Cluster) -> None:
    one = slot(tags(PARTITIONS)[0])
    victim = six.owner(one)
    busy = FarDay(house, day, six.url, level="replicated")
    busy.open()
    busy.begin(RATE)
    busy.at(500)
    victim.signal(signal.SIGSTOP)
    until(lambda: six.owner(one) is not victim, "its replica takes over")
    victim.signal(signal.SIGCONT)
    until(lambda: is_linked(victim), "it follows its replica now")
    busy.end()


def migrate(formed: Cluster, source: Server, aim: Server, slots: tuple[int, int]) -> None:
    """Move slots with all they hold; returns when the aim owns them."""
    name = aim.client.execute_command("CLUSTER", "MYID")
    source.client.execute_command("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", *slots, "NODE", name)
    until(lambda: all(formed.owner(one) is aim for one in slots), "the slots have moved")


def has_functions(server: Server) -> bool:
    """Whether our library is loaded there."""
    return LIBRARY.encode() in str(server.client.execute_command("FUNCTION", "LIST")).encode()


def is_linked(server: Server) -> bool:
    """Whether a server follows another."""
    return server.client.info("replication").get("master_link_status") == "up"
