"""From reply lanes to the operator: batches over all partitions, a window of requests, repeats with back-off.

Nothing is sent that has lapsed, that no phone can receive, or whose partition may be another dispatcher's.
"""

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from dispatch.ledger import Ledger
from dispatch.operators.port import Operator, Outcome, Parcel
from dispatch.outgoing import Outgoing
from dispatch.throttle import Throttle
from runtime.telemetry import REPLY_AGE, SEND_FAILURES, SENT, Log, masked

BATCH: Final = 100
"""The http operator's contract: up to 100 replies a request."""
GATHER_S: Final = 0.01
"""A part of a batch waits so long after the one before it; from 10,000 replies a second on all batches are full."""
BACKOFF_S: Final = (0.2, 30.0)
MOST_DOUBLINGS: Final = 8
"""0.2 s doubled so often is above the longest back-off; a reply may be tried for days."""


class Sender:
    """The window of one dispatcher. The lanes bound what waits here: each has so many replies under way."""

    def __init__(self, *, operator: Operator, ledger: Ledger, throttle: Throttle, window: int) -> None:
        self._operator = operator
        self._ledger = ledger
        self._throttle = throttle
        self._window = window
        self._queue: deque[Outgoing] = deque()
        self._filled = asyncio.Event()
        self._gathering = asyncio.Lock()
        self._taken_mono_s = 0.0
        self._log = Log("dispatch")

    def submit(self, page: Sequence[Outgoing]) -> None:
        """Take replies; their lane hears of each when it is settled or left."""
        self._queue.extend(page)
        self._filled.set()

    async def run(self) -> None:
        """Send, for ever, `window` requests at once."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._window):
                group.create_task(self._send_for_ever())

    async def _send_for_ever(self) -> None:
        while True:
            fit = self._fit(await self._batch())
            if fit and await self._throttle.take(len(fit)):
                fit = self._fit(fit)  # what lapsed or was lost during the wait stays here
            if fit:
                self._settle(fit, await self._send(fit))

    async def _batch(self) -> list[Outgoing]:
        """The next batch. Right after another it waits to be full: a request costs as much as hundreds of replies."""
        queue, largest = self._queue, self._throttle.largest
        async with self._gathering:  # one at a time, or many would take a part each
            await self._filled_to(1)
            early_s = self._taken_mono_s + GATHER_S - time.monotonic()
            if early_s > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(early_s):
                        await self._filled_to(largest)
            self._taken_mono_s = time.monotonic()
            return [queue.popleft() for _ in range(min(largest, len(queue)))]

    async def _filled_to(self, count: int) -> None:
        """Returns once so many replies wait."""
        while len(self._queue) < count:
            self._filled.clear()
            await self._filled.wait()

    async def _send(self, parcels: Sequence[Parcel]) -> Outcome:
        try:
            return await self._operator.send(parcels)
        except Exception as error:  # noqa: BLE001  # an operator's fault must not end the dispatcher
            self._log.error("the operator failed", cause=error)
            return Outcome(unknown=True, pause_s=1.0, cause=type(error).__name__)

    def _fit(self, batch: Sequence[Outgoing]) -> list[Outgoing]:
        """What may be sent now; what never may is a dead letter."""
        fit: list[Outgoing] = []
        now = time.time()
        may_send = {lane: lane.may_send for lane in {outgoing.lane for outgoing in batch}}
        for outgoing in batch:
            if not may_send[outgoing.lane]:
                outgoing.lane.left(outgoing.entry_id)
            elif outgoing.flaw:
                self._ledger.dead(outgoing, outgoing.flaw)
            elif outgoing.expires_s <= now:
                self._ledger.dead(outgoing, "lapsed: not sent in time")
            else:
                fit.append(outgoing)
        return fit

    def _settle(self, batch: Sequence[Outgoing], outcome: Outcome) -> None:
        if outcome.pause_s:
            self._throttle.pause(outcome.pause_s)
        accepted = [outgoing for outgoing in batch if outgoing.id in outcome.accepted]
        self._accepted(accepted)
        if len(accepted) == len(batch):
            return
        for outgoing in batch:
            name = outgoing.id
            if name in outcome.refused:
                self._ledger.dead(outgoing, f"refused: {masked(outcome.refused[name][:200])}")
            elif name not in outcome.accepted:
                outgoing.ambiguous |= outcome.unknown and name not in outcome.retry
                self._repeat(outgoing, outcome)

    def _accepted(self, batch: Sequence[Outgoing]) -> None:
        now = time.time()
        self._ledger.sent(*batch)
        for decided_ms, times in Counter([outgoing.decided_ms for outgoing in batch]).items():
            REPLY_AGE.observe_many(max(0.0, now - int(decided_ms) / 1000), times)
        for verdict, times in Counter([outgoing.verdict for outgoing in batch]).items():
            SENT.labels(verdict).inc(times)

    def _repeat(self, outgoing: Outgoing, outcome: Outcome) -> None:
        """Put it back after its back-off; a lane that ends leaves it to the next holder."""
        SEND_FAILURES.labels(outcome.cause).inc()
        if outgoing.lane.ending:
            outgoing.lane.left(outgoing.entry_id)
        elif outcome.pause_s and not outcome.unknown:
            # The operator as a whole took nothing: its pause is the back-off of all, and ends for all at once.
            self.submit([outgoing])
        else:
            outgoing.lane.parked(outgoing.entry_id)
            asyncio.get_running_loop().call_later(backoff_s(outgoing.attempts), self._resume, outgoing)
            outgoing.attempts += 1

    def _resume(self, outgoing: Outgoing) -> None:
        outgoing.lane.resumed(outgoing.entry_id)
        self.submit([outgoing])


def backoff_s(attempts: int) -> float:
    """How long a reply waits that was tried `attempts` times before this one: doubled each time, with jitter."""
    longest = min(BACKOFF_S[0] * 2 ** min(attempts, MOST_DOUBLINGS), BACKOFF_S[1])
    return longest * random.uniform(0.5, 1)
