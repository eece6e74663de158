"""The pace of sends: a token bucket for the operator's limit, and its wishes to be left alone."""

import asyncio
import time
from typing import Final

BURST_S: Final = 0.1
"""What an idle moment may save up: a tenth of a second's worth, or one request."""


class Throttle:
    """At most `rate` replies a second, none during a pause."""

    def __init__(self, rate: float, largest: int) -> None:
        self._rate = rate
        self._most = max(rate * BURST_S, float(largest))
        self._tokens = self._most
        self._at = time.monotonic()
        self._paused_until = 0.0

    def pause(self, seconds: float) -> None:
        """Send nothing for a while."""
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    async def take(self, count: int) -> None:
        """Wait until `count` replies may go."""
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
                return
