"""From reply lanes to the operator: batches over all partitions, a window of requests, repeats with back-off.

Nothing is sent that has lapsed, that no phone can receive, or whose partition may be another dispatcher's.
"""

import asyncio
import random
import re
import time
from datetime import UTC, datetime
from typing import Final

from dispatch.ledger import Ledger
from dispatch.operators.port import Operator, Outcome
from dispatch.reply_lane import Outgoing
from dispatch.throttle import Throttle
from runtime.telemetry import REPLY_AGE, SEND_FAILURES, SENT

BATCH: Final = 100
"""The http operator's contract: up to 100 replies a request."""
QUEUE: Final = 4000
BACKOFF_S: Final = (0.2, 30.0)
PHONE: Final = re.compile(r"\+[0-9]{7,15}")
"""Short codes and alphanumeric senders are never answered: two machines could answer each other for ever."""


class Sender:
    """The window of one dispatcher."""

    def __init__(self, *, operator: Operator, ledger: Ledger, throttle: Throttle, window: int) -> None:
        self._operator = operator
        self._ledger = ledger
        self._throttle = throttle
        self._window = window
        self._queue: asyncio.Queue[Outgoing] = asyncio.Queue(QUEUE)

    async def submit(self, outgoing: Outgoing) -> None:
        """Take a reply; waits while the operator is behind."""
        await self._queue.put(outgoing)

    async def run(self) -> None:
        """Send, for ever, `window` requests at once."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._window):
                group.create_task(self._send_for_ever())

    async def _send_for_ever(self) -> None:
        while True:
            batch = [await self._queue.get()]
            while len(batch) < BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            fit = [outgoing for outgoing in batch if self._is_fit(outgoing)]
            if not fit:
                continue
            await self._throttle.take(len(fit))
            # The wait may have been long: what lapsed or was lost in it stays here.
            fit = [outgoing for outgoing in fit if self._is_fit(outgoing)]
            if fit:
                self._settle(fit, await self._operator.send([outgoing.parcel for outgoing in fit]))

    def _is_fit(self, outgoing: Outgoing) -> bool:
        """Whether it may be sent now; what never may is a dead letter."""
        if not outgoing.lane.may_send:
            outgoing.lane.settled(outgoing.entry_id)  # pending still: the partition's next holder sends it
            return False
        if outgoing.reply is None:
            self._ledger.dead(outgoing, "unreadable: not a reply")
        elif not PHONE.fullmatch(outgoing.reply.to):
            self._ledger.dead(outgoing, "unanswerable: not a phone number")
        elif _moment(outgoing.reply.expires_at) <= time.time():
            self._ledger.dead(outgoing, "lapsed: not sent in time")
        else:
            return True
        return False

    def _settle(self, batch: list[Outgoing], outcome: Outcome) -> None:
        if outcome.pause_s:
            self._throttle.pause(outcome.pause_s)
        for outgoing in batch:
            name = outgoing.parcel.id
            if name in outcome.accepted:
                self._accepted(outgoing)
            elif name in outcome.refused:
                self._ledger.dead(outgoing, f"refused: {outcome.refused[name][:200]}")
            else:
                outgoing.parcel.ambiguous |= outcome.unknown and name not in outcome.retry
                self._repeat(outgoing, outcome.cause)

    def _accepted(self, outgoing: Outgoing) -> None:
        self._ledger.sent(outgoing)
        if outgoing.reply is not None:
            SENT.labels(outgoing.reply.verdict).inc()
            decided_ms = int(outgoing.entry_id.split(b"-", 1)[0])
            REPLY_AGE.observe(max(0.0, time.time() - decided_ms / 1000))

    def _repeat(self, outgoing: Outgoing, cause: str) -> None:
        """Put it back after a pause; a lane that ends leaves it to the next holder."""
        SEND_FAILURES.labels(cause).inc()
        if outgoing.lane.ending:
            outgoing.lane.settled(outgoing.entry_id)
            return
        delay_s = min(BACKOFF_S[0] * 2**outgoing.attempts, BACKOFF_S[1]) * random.uniform(0.5, 1)
        outgoing.attempts += 1
        loop = asyncio.get_running_loop()
        loop.call_later(delay_s, self._again, outgoing)

    def _again(self, outgoing: Outgoing) -> None:
        try:
            self._queue.put_nowait(outgoing)
        except asyncio.QueueFull:
            asyncio.get_running_loop().call_later(BACKOFF_S[0], self._again, outgoing)


def _moment(rfc3339: str) -> float:
    """Seconds since 1970; what is no time has lapsed."""
    try:
        return datetime.fromisoformat(rfc3339).astimezone(UTC).timestamp()
    except ValueError:
        return 0.0
