"""The pace of sends: a token bucket for the operator's limit, and its wishes to be left alone."""

import asyncio
import time
from typing import Final

BURST_S: Final = 0.1
"""What an idle moment may save up: a tenth of a second's worth, or one reply."""


class Throttle:
    """At most `rate` replies a second, in batches of at most `largest`; none during a pause."""

    def __init__(self, rate: float, largest: int) -> None:
        self._rate = rate
        self._most = max(rate * BURST_S, 1.0)
        self._tokens = self._most
        self._at = time.monotonic()
        self._paused_until = 0.0
        self.largest = min(largest, int(self._most))
        """A batch above the burst would be above the rate."""

    def pause(self, seconds: float) -> None:
        """Send nothing for a while."""
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    async def take(self, count: int) -> bool:
        """Wait until `count` replies, at most `largest`, may go; whether that took any time."""
        waited = False
        while True:
            now = time.monotonic()
            self._tokens = min(self._most, self._tokens + (now - self._at) * self._rate)
            self._at = now
            if now < self._paused_until:
                await asyncio.sleep(self._paused_until - now)
            elif self._tokens < count:
                await asyncio.sleep((count - self._tokens) / self._rate)
            else:
                self._tokens -= count
                return waited
            waited = True
