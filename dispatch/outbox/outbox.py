"""The outbox's loop in a dispatcher: index, transmit and forget, for the partitions it holds.

Reads `outbox:{p}` and `ends:{p}`. One pipelined look at all partitions is cheaper than a blocked connection each.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from redis.exceptions import RedisError

from dispatch.ministry.off import NoMinistry
from dispatch.ministry.port import Ministry
from dispatch.outbox.epoch_feed import EpochFeed
from dispatch.outbox.index import Index
from dispatch.outbox.settlement import Settlement
from dispatch.outbox.sweep import Sweep
from dispatch.outbox.transmission import Transmission
from lua.keys import PartitionKeys
from permits.partition import Route
from runtime.connection import STORE_ERRORS
from runtime.employment import Employment
from runtime.epochs import Epochs
from runtime.keyring import Keyring
from runtime.leases import Lease
from runtime.shared import SharedWire
from runtime.telemetry import Log

LOOK_S: Final = 0.1
"""The promise: a permit stands in the lists within a second."""
RETRY_S: Final = 0.5


class Outbox:
    """Everything that follows from changes of employees' permits, in one dispatcher."""

    def __init__(
        self,
        store: SharedWire,
        *,
        leases: Callable[[], Sequence[Lease]],
        ministry: Ministry | NoMinistry,
        route: Route,
        partitions: Sequence[PartitionKeys],
        keyring: Keyring,
        epochs: Epochs,
        replicas: int = 0,
    ) -> None:
        self._leases = leases
        """The partitions that are ours now."""
        employment = Employment(store.send, route=route, partitions=partitions, keyring=keyring, epochs=epochs.known)
        settlement = Settlement(store, employment=employment, partitions=partitions, ack=ministry.ack)
        self._index = Index(store, route=route, partitions=partitions)
        self._transmission = Transmission(store, ministry=ministry, settlement=settlement, replicas=replicas)
        self._epoch_feed = (
            None
            if isinstance(ministry, NoMinistry)
            else EpochFeed(store, ministry=ministry, epochs=epochs.known, replicas=replicas)
        )
        self._sweep = Sweep(store, partitions=partitions, index=self._index, epochs=epochs)
        self._log = Log("outbox")

    async def run(self, stop: asyncio.Event) -> None:
        """Work until the stop; then only what is on its way to the Ministry is waited for and settled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._repeated(self._tend, stop))
                if self._epoch_feed is not None:
                    group.create_task(self._repeated(partial(self._feed_epochs, self._epoch_feed), stop))
            await self._transmission.finish()
        finally:
            self._transmission.drop()

    async def _tend(self) -> bool:
        """One look at every partition, a sweep of one; whether there may be more."""
        leases = self._leases()
        held = [lease.index for lease in leases if lease.surely_ours]
        # One after the other: a sweep that met an index under way could take out what was just put in.
        more = await self._index.follow(held)
        await self._sweep.sweep(held)
        more |= await self._transmission.read(leases)
        self._transmission.start()
        return more

    async def _feed_epochs(self, feed: EpochFeed) -> bool:
        await feed.feed([lease for lease in self._leases() if lease.surely_ours])
        return False

    async def _repeated(self, step: Callable[[], Awaitable[bool]], stop: asyncio.Event) -> None:
        """Take a step again and again until the stop; a store that is away is asked again."""
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stopping.done():
                try:
                    pause_s = 0.0 if await step() else LOOK_S
                except (*STORE_ERRORS, RedisError) as error:
                    self._log.warning("the outbox is not read", error=type(error).__name__)
                    pause_s = RETRY_S
                # Not `wait_for`: Python 3.11's forgets a cancellation that meets the event.
                await asyncio.wait({stopping}, timeout=pause_s)
        finally:
            stopping.cancel()
