"""From the outboxes of the partitions we hold to the Ministry: in order for each person, repeated for days.

Reads `outbox:{p}`. At most one event of an owner is under way; it stands in its stream until it is settled, so a
crash can repeat an event under its id, and never loses one. An event that fails is sent again after a back-off of
its own and in ever smaller company, so that one which the Ministry chokes on holds nobody else.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Sequence
from typing import Final

from dispatch.ministry.port import FeedEvent, Taker
from dispatch.operators.port import Outcome
from dispatch.outbox.entries import Entry, entries
from dispatch.outbox.settlement import Settlement
from dispatch.outbox.window import Window
from lua.calls import Command, mark_command
from runtime.leases import Lease
from runtime.shared import SharedWire
from runtime.telemetry import FEED_FAILURES, Log

PAGE: Final = 200
POSTS: Final = 4
"""Under way at once while the Ministry takes events; one while it does not."""
COMPANY: Final = (100, 25, 5, 1)
"""Most events of a POST, by how often they have failed before. The first is the contract's limit."""
BACKOFF_S: Final = (0.5, 60.0)
MOST_DOUBLINGS: Final = 7


class Held:
    """One partition under our lease, and its events under way."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.window = Window()


class Sending:
    """One event on its way."""

    def __init__(self, held: Held, entry: Entry, event: FeedEvent) -> None:
        self.held = held
        self.entry = entry
        self.event = event
        self.failures = 0
        self.ready_s = time.monotonic()


class Transmission:
    """The feed of one dispatcher."""

    def __init__(self, store: SharedWire, *, ministry: Taker, settlement: Settlement, replicas: int = 0) -> None:
        self._store = store
        self._ministry = ministry
        self._settlement = settlement
        self._replicas = replicas
        self._held: dict[int, Held] = {}
        self._ready: tuple[deque[Sending], ...] = tuple(deque() for _ in COMPANY)
        self._failures = 0
        """POSTs that failed as a whole since the last that did not."""
        self._paused_until_s = 0.0
        self._posts: set[asyncio.Task[None]] = set()
        self._ending = False
        self._log = Log("outbox")

    async def read(self, leases: Sequence[Lease]) -> bool:
        """Take up what is new in the partitions we hold, one page of each; whether there may be more."""
        self._held = {
            lease.index: known if (known := self._held.get(lease.index)) and known.lease is lease else Held(lease)
            for lease in leases
        }
        roomy = [held for held in self._held.values() if held.lease.surely_ours and not held.window.is_full]
        starts = [held.window.start for held in roomy]
        looks: list[Command] = [
            ["XRANGE", held.lease.keys.outbox, start, "+", "COUNT", PAGE]
            for held, start in zip(roomy, starts, strict=True)
        ]
        more = False
        pages = await self._store.ask(looks)
        if self._replicas and any(pages):  # nothing is posted that they may lack
            marks = [mark_command(held.lease.keys.mark) for held, page in zip(roomy, pages, strict=True) if page]
            await self._store.ask(marks, self._replicas)
        for held, start, page in zip(roomy, starts, pages, strict=True):
            if held.window.start != start:  # an event settled meanwhile has an owner's next before this page
                more = True
                continue
            for entry in entries(page):
                if held.window.is_full:
                    break
                self._take(held, entry)
            more |= len(page) == PAGE and not held.window.is_full
        return more

    def _take(self, held: Held, entry: Entry) -> None:
        event = entry.event
        if event is None or not event.number:
            held.window.skip(entry.entry_id)  # the index takes it away
        elif held.window.offer(entry.entry_id, event.owner):
            name = f"{held.lease.keys.tag}-{event.number}"
            self._ready[0].append(Sending(held, entry, FeedEvent(name, held.lease.index, event)))

    def start(self) -> None:
        """Start as many POSTs as may be under way now; each goes on by itself."""
        most = 1 if self._failures else POSTS
        while (
            not self._ending
            and len(self._posts) < most
            and time.monotonic() >= self._paused_until_s
            and (batch := self._batch())
        ):
            post = asyncio.create_task(self._post(batch))
            self._posts.add(post)
            post.add_done_callback(self._posted)

    def _posted(self, post: asyncio.Task[None]) -> None:
        self._posts.discard(post)
        if not post.cancelled() and (error := post.exception()) is not None:
            self._log.error("a post to the Ministry failed", cause=error)
        self.start()

    async def finish(self) -> None:
        """Start nothing more; what is under way is settled first."""
        self._ending = True
        if self._posts:
            await asyncio.wait(self._posts)

    def drop(self) -> None:
        """Wait for nothing: what is under way will be sent again."""
        self._ending = True
        for post in self._posts:
            post.cancel()

    def _batch(self) -> list[Sending]:
        """The events that have waited longest, with others that have failed as often."""
        queues = [(queue[0].ready_s, failures) for failures, queue in enumerate(self._ready) if queue]
        if not queues:
            return []
        _, failures = min(queues)
        queue, batch = self._ready[failures], list[Sending]()
        while queue and len(batch) < COMPANY[failures]:
            sending = queue.popleft()
            if sending.held.lease.surely_ours and self._held.get(sending.event.partition) is sending.held:
                batch.append(sending)
            else:  # to be read again, by us or by whoever holds the partition next
                sending.held.window.left(sending.event.event.owner)
        return batch or self._batch()

    async def _post(self, batch: Sequence[Sending]) -> None:
        outcome = await self._sent([sending.event for sending in batch])
        self._pace(outcome)
        told: list[Sending] = []
        for sending in batch:
            if sending.event.id in outcome.accepted or sending.event.id in outcome.refused:
                told.append(sending)
            else:
                self._repeat(sending, outcome.cause)
        settled = await asyncio.gather(*(self._settled(sending, outcome) for sending in told), return_exceptions=True)
        for sending, error in zip(told, settled, strict=True):
            if error is None:
                sending.held.window.settled(sending.event.event.owner)
            else:  # sent again under its id, and settled then
                self._log.warning("an event is not settled", error=type(error).__name__, event_id=sending.event.id)
                self._repeat(sending, type(error).__name__)

    async def _sent(self, events: Sequence[FeedEvent]) -> Outcome:
        try:
            return await self._ministry.send(events)
        except Exception as error:  # noqa: BLE001  # one event that cannot be sent must not end the dispatcher
            self._log.error("the Ministry's port failed", cause=error)
            return Outcome(pause_s=BACKOFF_S[0], cause=type(error).__name__)

    async def _settled(self, sending: Sending, outcome: Outcome) -> None:
        event = sending.event
        if event.id in outcome.accepted:
            await self._settlement.accepted(event, sending.entry)
        else:
            await self._settlement.refused(event, sending.entry, outcome.refused[event.id])

    def _pace(self, outcome: Outcome) -> None:
        """After a failure as a whole a pause for all, longer each time; after anything else full speed."""
        if not outcome.pause_s:
            if self._failures:
                self._log.info("the Ministry takes events again", failures=self._failures)
            self._failures = 0
            return
        pause_s = max(outcome.pause_s, backoff_s(self._failures))
        self._failures += 1
        self._paused_until_s = time.monotonic() + pause_s
        if self._failures == 1:
            self._log.warning("the Ministry takes no events", why=outcome.cause)

    def _repeat(self, sending: Sending, cause: str) -> None:
        FEED_FAILURES.labels(cause).inc()
        delay_s = backoff_s(sending.failures)
        sending.failures += 1
        asyncio.get_running_loop().call_later(delay_s, self._resume, sending)

    def _resume(self, sending: Sending) -> None:
        sending.ready_s = time.monotonic()
        self._ready[min(sending.failures, len(COMPANY) - 1)].append(sending)


def backoff_s(failures: int) -> float:
    """How long to wait after a failure that `failures` others preceded: doubled each time, with jitter."""
    return min(BACKOFF_S[0] * 2 ** min(failures, MOST_DOUBLINGS), BACKOFF_S[1]) * random.uniform(0.5, 1)
