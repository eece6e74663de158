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
from runtime.errors import StartupError
from runtime.telemetry import Log

POLL_S: Final = 0.25
UNREAD: Final = (*STORE_ERRORS, RedisError, msgspec.DecodeError, UnicodeDecodeError)
"""What `refresh` raises: the store is away, or an item cannot be read, which a newer release may have written."""
_DECODER: Final = msgspec.json.Decoder(Epoch)


class Epochs:
    """The epochs known so far; the list only ever grows."""

    def __init__(self, ask: Callable[..., Awaitable[Any]]) -> None:
        self._ask = ask
        """Sends one command: `Wire.execute_command`, or alike."""
        self.known: list[Epoch] = []
        self.fresh = False
        """Whether the last refresh succeeded: otherwise a mass act may be missing."""
        self._log = Log("epochs")

    async def begin(self) -> None:
        """The first refresh, before anything is judged; StartupError where it fails."""
        try:
            await self.refresh()
        except UNREAD as error:
            raise StartupError(f"the acts on all permits (`epochs`) cannot be read: {type(error).__name__}") from None

    async def refresh(self) -> None:
        """Read what is new, up to the first that cannot be read; raises one of UNREAD."""
        start = len(self.known)
        try:
            new: list[bytes] = await self._ask("LRANGE", EPOCHS, start, -1)
            # Of two refreshes at once neither may add twice, nor leave out what only it has read.
            for raw in new[len(self.known) - start :]:
                self.known.append(_DECODER.decode(raw))
        except UNREAD:
            self.fresh = False
            raise
        self.fresh = True

    async def follow(self) -> None:
        """Refresh for ever; a store that is away is asked again."""
        while True:
            try:
                await self.refresh()
            except UNREAD as error:
                self._log.warning("epochs not read", error=type(error).__name__)
            await asyncio.sleep(POLL_S)
