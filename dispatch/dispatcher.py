"""A dispatcher put together: leases of partitions, a lane for each, one sender and one ledger for all.

Reads `replies:{p}` of the partitions it holds. A stop sends what is queued first.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

from redis.exceptions import RedisError

from dispatch.ledger import Ledger
from dispatch.operators.port import Operator
from dispatch.reply_lane import ReplyLane
from dispatch.sender import BATCH, Sender
from dispatch.throttle import Throttle
from lua.keys import DISPATCH_GROUP, PartitionKeys
from runtime.connection import Client
from runtime.day_keys import DayKeys
from runtime.leases import Lease, Leases
from runtime.settings import Settings
from runtime.telemetry import Log
from runtime.topology import wire_to

LOOK_S: Final = 0.05


class Dispatcher:
    """One process's share of the partitions, on its way to one operator."""

    def __init__(
        self,
        client: Client,
        url: str,
        *,
        operator: Operator,
        partitions: Sequence[PartitionKeys],
        settings: Settings,
        day_keys: DayKeys,
    ) -> None:
        self._client = client
        self._url = url
        self._partitions = partitions
        self._drain_s = settings.drain_s
        self._replicas = settings.awaited
        self._ledger = Ledger(wire_to(url), day_keys)
        self._sender = Sender(
            operator=operator,
            ledger=self._ledger,
            throttle=Throttle(settings.operator_rate, BATCH),
            window=settings.operator_window,
        )
        self._leases = Leases(
            wire_to(url), role="dispatch", partitions=partitions, lease_ms=settings.lease_ms, new_lane=self._new_lane
        )
        self._lease_of: dict[int, Lease] = {}
        self._log = Log("dispatch")

    @property
    def held(self) -> list[int]:
        """Indexes of the partitions that are ours now."""
        return self._leases.held

    @property
    def leases(self) -> list[Lease]:
        """Their leases."""
        return [self._lease_of[index] for index in self.held]

    async def run(self, stop: asyncio.Event) -> None:
        """Send until the stop and what is queued then; raises what ends the sender or the ledger."""
        try:
            async with asyncio.TaskGroup() as group:
                working = [group.create_task(self._ledger.run()), group.create_task(self._sender.run())]
                await self._leases.run(stop, until_done=self._drained)
                for task in working:
                    task.cancel()
        finally:
            await self._ledger.finish()

    def _new_lane(self, lease: Lease) -> ReplyLane:
        lane = ReplyLane(lease, wire=wire_to(self._url), submit=self._sender.submit, replicas=self._replicas)
        self._ledger.taken_over(lane)
        self._lease_of[lease.index] = lease
        return lane

    async def _drained(self) -> None:
        """Returns when our partitions' replies are sent, or after the patience of a stop."""
        # No `asyncio.timeout`: redis-py's own time limit can swallow a cancellation on Python 3.11.
        deadline = time.monotonic() + self._drain_s
        try:
            while await self._is_unsent():
                if time.monotonic() >= deadline:
                    raise TimeoutError
                await asyncio.sleep(LOOK_S)
        except TimeoutError:
            self._log.warning("stopped with unsent replies; the next dispatcher goes on with them")

    async def _is_unsent(self) -> bool:
        """Whether a reply of our partitions is unread or unsettled; with the store away, nobody knows: yes."""
        try:
            for index in self.held:
                keys = self._partitions[index]
                groups: list[dict[str, Any]] = await self._client.execute_command("XINFO GROUPS", keys.replies)
                for group in groups:
                    if group["name"] != DISPATCH_GROUP.encode():
                        continue
                    unread = "(" + group["last-delivered-id"].decode()
                    if group["pending"] or await self._client.execute_command(
                        "XRANGE", keys.replies, unread, "+", "COUNT", 1
                    ):
                        return True
        except (RedisError, OSError):
            return True
        return False
