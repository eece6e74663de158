"""Processes of a role share the partitions within seconds, whoever comes and goes."""

import asyncio

from runtime.embedded import EmbeddedStore
from tests.system.house import PARTITIONS, House, holds, ready, until

SECONDS = 10.0
"""A lease of two seconds, and time for a busy machine."""


def test_workers_share_the_partitions_when_they_come_and_when_one_is_killed(house: House) -> None:
    house.furnish()
    store = EmbeddedStore(house.data, memory_mb=256)
    asyncio.run(store.start())
    house.at_end(lambda: asyncio.run(store.stop()))
    workers = [house.start("process")]
    doors = [worker.door("process") for worker in workers]
    until(lambda: holds(doors[0], PARTITIONS), "the only worker has all", within_s=SECONDS)
    workers += [house.start("process") for _ in range(2)]
    doors = [worker.door("process") for worker in workers]
    share = -(-PARTITIONS // 3)
    shares = [share, share, PARTITIONS - 2 * share]
    until(lambda: sorted(held(doors)) == sorted(shares), "three share", within_s=SECONDS)
    workers.pop(0).kill()
    doors.pop(0)
    until(lambda: held(doors) == [PARTITIONS // 2] * 2, "two share what the third had", within_s=SECONDS)
    workers.pop(0).stop()
    doors.pop(0)
    until(lambda: holds(doors[0], PARTITIONS), "the last one has all", within_s=SECONDS)


def held(doors: list[str]) -> list[int]:
    """How many partitions each process has."""
    return [ready(door).get("partitions", 0) for door in doors]
