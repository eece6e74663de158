"""One partition's lane, sender and ledger, each in a test's hand."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from dispatch.ledger import Ledger
from dispatch.reply_lane import ReplyLane
from dispatch.sender import Sender
from dispatch.throttle import Throttle
from lua.keys import DISPATCH_GROUP, LANE
from runtime.connection import Client, Wire
from runtime.leases import Lease
from tests.eventually import eventually
from tests.integration.dispatching import DAY_KEYS, PARTITIONS, Recorder, pending

KEYS = PARTITIONS[0]
ONE = PARTITIONS[:1]


class Desk:
    """A lane, a sender and a ledger, each started by itself."""

    def __init__(self, url: str, operator: Recorder, wire: Wire | None = None) -> None:
        self.operator = operator
        self.lease = Lease(0, KEYS, "1", time.monotonic() + 3600)
        self.ledger = Ledger(Wire(url), DAY_KEYS)
        self.sender = Sender(operator=operator, ledger=self.ledger, throttle=Throttle(1e6, 100), window=1)
        self.lane = ReplyLane(self.lease, wire=wire or Wire(url), submit=self.sender.submit)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, *works: Callable[[], Awaitable[None]]) -> None:
        """Begin some of the three; all of them where none is named."""

        async def awaited(work: Callable[[], Awaitable[None]]) -> None:
            await work()

        for work in works or (self.lane.run, self.sender.run, self.ledger.run):
            self._tasks.append(asyncio.create_task(awaited(work)))

    async def crash(self) -> None:
        """End at once; nothing is written any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()


@asynccontextmanager
async def desk(url: str, wire: Wire | None = None, operator: Recorder | None = None) -> AsyncGenerator[Desk, None]:
    at = Desk(url, operator or Recorder(), wire)
    try:
        yield at
    finally:
        await at.crash()
        await at.ledger.finish()


async def until_pending(store: Client, count: int) -> None:
    async def is_so() -> bool:
        return await pending(store, ONE) == count

    await eventually(is_so)


async def until_seen(operator: Recorder, count: int) -> None:
    async def is_so() -> bool:
        return len(operator.seen) >= count

    await eventually(is_so)


async def read_as_another(store: Client, count: int) -> list[bytes]:
    """What a former holder of the lease would have read."""
    command = ("XREADGROUP", "GROUP", DISPATCH_GROUP, LANE, "COUNT", count, "STREAMS", KEYS.replies, ">")
    return [entry_id for entry_id, _ in (await store.execute_command(*command))[0][1]]
