"""Leases: processes share the partitions, and no partition has two holders with the same right to it."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from lua.keys import PartitionKeys, partition_keys, tags
from lua.library import ensure_loaded
from runtime.connection import Client, Wire, connect
from runtime.embedded import EmbeddedStore
from runtime.leases import Lease, Leases
from tests.eventually import eventually

LEASE_MS = 400
PARTITIONS = [partition_keys(tag) for tag in tags(64)]


class Journal:
    """Which epochs each partition's lanes had, in the order of their start, and which are at work."""

    def __init__(self) -> None:
        self.epochs: defaultdict[int, list[int]] = defaultdict(list)
        self.at_work: defaultdict[int, set[str]] = defaultdict(set)


class StillLane:
    """A lane that does nothing until it is stopped."""

    def __init__(self, lease: Lease, journal: Journal) -> None:
        self._lease = lease
        self._journal = journal
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Wait for the stop."""
        lease, at_work = self._lease, self._journal.at_work[self._lease.index]
        assert lease.epoch not in at_work, "two lanes under one epoch"
        self._journal.epochs[lease.index].append(int(lease.epoch))
        at_work.add(lease.epoch)
        try:
            await self._stop.wait()
        finally:
            at_work.remove(lease.epoch)

    def stop(self) -> None:
        """End."""
        self._stop.set()


async def _at_once() -> None:
    return


class Process:
    """One process of the role."""

    def __init__(self, url: str, journal: Journal, until_done: Callable[[], Awaitable[None]] = _at_once) -> None:
        self.leases = Leases(
            Wire(url),
            role="decide",
            partitions=PARTITIONS,
            lease_ms=LEASE_MS,
            new_lane=lambda lease: StillLane(lease, journal),
        )
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(self.leases.run(self._stop, until_done=until_done))

    @property
    def held(self) -> list[int]:
        """The partitions it holds."""
        return self.leases.held

    async def leave(self) -> None:
        """End as a process does that is told to."""
        self._stop.set()
        await asyncio.wait_for(self._task, 10)

    async def freeze(self) -> None:
        """No renewal from now on, and nothing given back: as a process that is stopped or cut off."""
        leases = self.leases

        async def nothing() -> None:
            return

        leases._round = nothing  # pyright: ignore[reportPrivateUsage]


class House:
    """Processes on one store, all ended at the end."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.journal = Journal()
        self.processes: list[Process] = []

    def start(self, until_done: Callable[[], Awaitable[None]] = _at_once) -> Process:
        """One process more."""
        process = Process(self._url, self.journal, until_done)
        self.processes.append(process)
        return process

    async def shared(self, *, among: list[Process] | None = None) -> None:
        """Returns when these processes hold every partition, once, and none more than its share."""
        sharing = among or self.processes

        async def so() -> bool:
            every = sorted(index for process in sharing for index in process.held)
            share = -(-len(PARTITIONS) // len(sharing))
            return every == list(range(len(PARTITIONS))) and all(len(one.held) <= share for one in sharing)

        await eventually(so)


@pytest.fixture
async def house(redis: Client, server: EmbeddedStore) -> AsyncIterator[House]:
    del redis  # the store is empty and has the library
    found = House(server.url)
    yield found
    await asyncio.gather(*(process.leave() for process in found.processes))


def epochs_only_grow(journal: Journal) -> bool:
    """Whether each partition's lanes had rising epochs, each one once."""
    return all(epochs == sorted(set(epochs)) for epochs in journal.epochs.values())


async def holders(client: Client, keys: list[PartitionKeys]) -> set[bytes]:
    """Owners of the leases as they stand in the store."""
    found: list[bytes | None] = [await client.execute_command("GET", one.lease("decide")) for one in keys]
    return {one for one in found if one is not None}


async def test_one_process_holds_everything(house: House) -> None:
    house.start()
    await house.shared()


async def test_two_processes_share_evenly(house: House) -> None:
    house.start()
    house.start()
    await house.shared()
    assert epochs_only_grow(house.journal)


async def test_a_third_process_gets_its_part(house: House) -> None:
    house.start()
    house.start()
    await house.shared()
    house.start()
    await house.shared()
    assert epochs_only_grow(house.journal)


async def test_what_a_leaving_process_held_is_taken_by_the_others(house: House, redis: Client) -> None:
    leaving, *_ = [house.start() for _ in range(3)]
    await house.shared()
    await leaving.leave()
    assert leaving.held == []
    house.processes.remove(leaving)
    await house.shared()
    assert await redis.execute_command("ZCARD", "members:decide") == 2
    assert epochs_only_grow(house.journal)


async def test_what_a_dead_process_held_is_taken_once_its_leases_run_out(house: House) -> None:
    dying, living = house.start(), house.start()
    await house.shared()
    lost = dying.held
    await dying.freeze()
    await house.shared(among=[living])

    async def taken() -> bool:  # the dead one's lanes know nothing of it, but their epochs are void
        return all(len(house.journal.at_work[index]) == 2 for index in lost)

    await eventually(taken)
    assert epochs_only_grow(house.journal)


async def test_a_frozen_process_that_wakes_up_ends_its_lanes(house: House) -> None:
    frozen, living = house.start(), house.start()
    await house.shared()
    await frozen.freeze()
    await house.shared(among=[living])
    del frozen.leases._round  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    await house.shared()

    async def one_lane_each() -> bool:
        return all(len(epochs) == 1 for epochs in house.journal.at_work.values())

    await eventually(one_lane_each)
    assert epochs_only_grow(house.journal)


async def test_a_process_that_leaves_works_until_it_is_done(house: House) -> None:
    done = asyncio.Event()

    async def until_done() -> None:
        await done.wait()

    process = house.start(until_done)
    await house.shared()
    leaving = asyncio.create_task(process.leave())
    finished, _ = await asyncio.wait({leaving}, timeout=2 * LEASE_MS / 1000)
    assert not finished
    assert len(process.held) == 64  # renewed meanwhile
    done.set()
    await leaving
    assert process.held == []


async def test_flushed_functions_are_loaded_again(house: House, redis: Client) -> None:
    house.start()
    await house.shared()
    await redis.execute_command("FUNCTION", "FLUSH")
    house.start()
    await house.shared()


async def test_leases_that_vanished_are_all_taken_again_together(house: House, redis: Client) -> None:
    process = house.start()
    await house.shared()
    before = {index: epochs[-1] for index, epochs in house.journal.epochs.items()}
    await redis.execute_command("DEL", *(keys.lease("decide") for keys in PARTITIONS))

    async def renewed() -> bool:
        return all(house.journal.epochs[index][-1] > epoch for index, epoch in before.items())

    await eventually(renewed, within_s=2)
    await house.shared()
    assert process.held == list(range(64))

    async def held_in_the_store() -> bool:
        return len(await holders(redis, PARTITIONS)) == 1

    await eventually(held_in_the_store)


async def test_a_store_that_goes_away_and_comes_back_is_found_again(own_store: EmbeddedStore) -> None:
    client = connect(own_store.url)
    await ensure_loaded(client)
    house = House(own_store.url)
    house.start()
    house.start()
    await house.shared()
    own_store.kill()
    await own_store.start()
    await house.shared()

    async def held_in_the_store() -> bool:
        return len(await holders(client, PARTITIONS)) == 2

    await eventually(held_in_the_store)
    assert epochs_only_grow(house.journal)
    await asyncio.gather(*(process.leave() for process in house.processes))
    assert await holders(client, PARTITIONS) == set()
    await client.aclose()
