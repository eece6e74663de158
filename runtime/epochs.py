"""The epochs as a role sees them: polled, so that a mass act shows within a second wherever permits are judged.

Reads `epochs`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from redis.exceptions import RedisError

from lua.keys import EPOCHS
from permits.employees import Epoch
from runtime.connection import STORE_ERRORS
from runtime.telemetry import Log

POLL_S: Final = 0.25
_DECODER: Final = msgspec.json.Decoder(Epoch)


class Epochs:
    """The epochs known so far; the list only ever grows."""

    def __init__(self, ask: Callable[..., Awaitable[Any]]) -> None:
        self._ask = ask
        """Sends one command: `Wire.execute_command`, or alike."""
        self.known: list[Epoch] = []
        self._log = Log("epochs")

    async def refresh(self) -> None:
        """Read what is new; raises where the store is away."""
        start = len(self.known)
        new: list[bytes] = await self._ask("LRANGE", EPOCHS, start, -1)
        # Of two refreshes at once neither may add twice, nor leave out what only it has read.
        self.known += [_DECODER.decode(raw) for raw in new[len(self.known) - start :]]

    async def follow(self) -> None:
        """Refresh for ever; a store that is away is asked again."""
        while True:
            try:
                await self.refresh()
            except (*STORE_ERRORS, RedisError, msgspec.DecodeError) as error:
                self._log.warning("epochs not read", error=type(error).__name__)
            await asyncio.sleep(POLL_S)
