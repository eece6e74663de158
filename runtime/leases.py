"""Who owns which partition: each process of a role takes its fair share of leases and renews them.

A share is the number of partitions over the number of live members, rounded up. What is above it is given back
after the lane has finished its step, so that a new process has its part within seconds; what a dead process held
comes free when its lease runs out.
"""

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from redis.exceptions import RedisError

from lua import calls
from lua.keys import PartitionKeys, Role, members
from lua.library import LibraryDiffersError, ensure_loaded
from runtime.connection import Wire
from runtime.telemetry import LANES, Log

RENEWALS_A_LEASE: Final = 5


class Lane(Protocol):
    """The work on one partition, as long as its lease is ours."""

    async def run(self) -> None:
        """Work until `stop` or until the lease is lost; never raises for a store that is away."""
        ...

    def stop(self) -> None:
        """Finish the step under way, then return from `run`."""
        ...


class Lease:
    """One partition held: its epoch, and until when it is surely ours by our own clock."""

    def __init__(self, index: int, keys: PartitionKeys, epoch: str, until_mono_s: float) -> None:
        self.index = index
        self.keys = keys
        self.epoch = epoch
        self.until_mono_s = until_mono_s

    @property
    def surely_ours(self) -> bool:
        """Whether no other process can have taken it yet."""
        return time.monotonic() < self.until_mono_s


class Leases:
    """The leases of one process in one role, each with a lane that works on it."""

    def __init__(
        self,
        wire: Wire,
        *,
        role: Role,
        partitions: Sequence[PartitionKeys],
        lease_ms: int,
        new_lane: Callable[[Lease], Lane],
    ) -> None:
        self._wire = wire
        self._role: Role = role
        self._partitions = partitions
        self._lease_ms = lease_ms
        self._new_lane = new_lane
        self._owner = uuid.uuid4().hex
        self._held: dict[int, tuple[Lease, Lane, asyncio.Task[None]]] = {}
        self._log = Log(role)

    @property
    def held(self) -> list[int]:
        """Indexes of the partitions that are ours now."""
        return sorted(self._held)

    @property
    def leases(self) -> list[Lease]:
        """The leases of those partitions, in the same order."""
        return [self._held[index][0] for index in self.held]

    async def run(self, stop: asyncio.Event, *, until_done: Callable[[], Awaitable[None]]) -> None:
        """Hold our share until the stop; then wait for `until_done`, end all lanes and give everything back."""
        stopping = asyncio.create_task(stop.wait())
        finishing: asyncio.Task[None] | None = None
        try:
            while True:
                await self._round()
                waiting = finishing or stopping
                await asyncio.wait({waiting}, timeout=self._lease_ms / 1000 / RENEWALS_A_LEASE)
                if finishing is not None and finishing.done():
                    return
                if stopping.done() and finishing is None:
                    finishing = asyncio.ensure_future(_awaited(until_done()))
        finally:
            stopping.cancel()
            await self._give_back(list(self._held))
            await self._leave()

    async def _round(self) -> None:
        """Renew, give back what is above our share, take what is free below it."""
        try:
            alive = await calls.join(
                self._wire, members_key=members(self._role), member=self._owner, ttl_ms=self._lease_ms
            )
            await self._renew()
            share = -(-len(self._partitions) // max(alive, 1))
            if len(self._held) > share:
                await self._give_back(random.sample(list(self._held), len(self._held) - share))
            elif len(self._held) < share:
                await self._take(share - len(self._held))
        except (RedisError, OSError) as error:
            self._log.warning("leases not renewed", error=type(error).__name__)
            if "Function not found" in str(error):
                await self._load_functions()
        LANES.labels(self._role).set(len(self._held))

    async def _load_functions(self) -> None:
        """The library again, after somebody flushed the store's functions: without it no lease can be renewed."""
        try:
            await ensure_loaded(self._wire)
        except (RedisError, OSError, LibraryDiffersError) as error:
            self._log.warning("functions not loaded", error=type(error).__name__)

    async def _renew(self) -> None:
        held = list(self._held)
        asked = time.monotonic()
        epochs = await self._ask(held)
        lost: list[int] = []
        for index, epoch in zip(held, epochs, strict=True):
            lease, _, task = self._held[index]
            if epoch == lease.epoch and not task.done():
                lease.until_mono_s = asked + self._lease_ms / 1000
                continue
            if task.done() and not task.cancelled() and task.exception() is not None:
                self._log.error("lane failed", cause=task.exception(), partition=index)
            lost.append(index)
        await self._give_back(lost)

    async def _take(self, wanted: int) -> None:
        free = [index for index in range(len(self._partitions)) if index not in self._held]
        random.shuffle(free)
        while free and wanted > 0:
            some, free = free[:wanted], free[wanted:]
            asked = time.monotonic()
            for index, epoch in zip(some, await self._ask(some), strict=True):
                if epoch is None:
                    continue
                lease = Lease(index, self._partitions[index], epoch, asked + self._lease_ms / 1000)
                lane = self._new_lane(lease)
                self._held[index] = (lease, lane, asyncio.create_task(lane.run()))
                wanted -= 1

    async def _ask(self, indexes: Sequence[int]) -> list[str | None]:
        """Take or renew leases, in one write: the epoch of each that is ours."""
        if not indexes:
            return []
        commands = [
            calls.lease_command(
                lease_key=self._partitions[index].lease(self._role),
                fence_key=self._partitions[index].fence(self._role),
                owner=self._owner,
                ttl_ms=self._lease_ms,
            )
            for index in indexes
        ]
        replies = await self._wire.call(*commands)
        for reply in replies:
            if isinstance(reply, RedisError):
                raise reply
        return [calls.lease_reply(reply) for reply in replies]

    async def _give_back(self, indexes: Sequence[int]) -> None:
        gone = [self._held.pop(index) for index in indexes]
        for _, lane, _ in gone:
            lane.stop()
        await asyncio.gather(*(task for _, _, task in gone), return_exceptions=True)
        try:
            for lease, _, _ in gone:
                await calls.release(self._wire, lease_key=lease.keys.lease(self._role), owner=self._owner)
        except (RedisError, OSError):
            return  # they run out by themselves

    async def _leave(self) -> None:
        try:
            await self._wire.execute_command("ZREM", members(self._role), self._owner)
        except (RedisError, OSError):
            return
        finally:
            await self._wire.close()


async def _awaited(work: Awaitable[None]) -> None:
    await work
