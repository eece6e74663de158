"""A few connections to the store that all requests share: the reads of one request go out in one write.

Reads only: a command whose answer was lost is asked once more.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from redis.exceptions import ConnectionError as StoreConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as StoreTimeoutError

from lua.calls import Command
from runtime.connection import Wire

COUNT: Final = 8
"""One process fills a core before it fills these: each carries one request at a time, for a fraction of a ms."""
PATIENCE_S: Final = 2.0
"""How long a request waits for the store, a free connection included, before its caller is sent away."""


class Wires:
    """Connections made on first use and again after a break."""

    def __init__(self, url: str, *, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._idle: asyncio.LifoQueue[Wire] = asyncio.LifoQueue()
        self._readings: set[asyncio.Task[list[Any]]] = set()
        for _ in range(COUNT):
            self._idle.put_nowait(Wire(url))

    async def read(self, *commands: Command | Sequence[Any]) -> list[Any]:
        """Raw replies in order, from one round trip.

        Raises one of STORE_ERRORS, within the patience, where the store is away; an error reply is raised too.
        """
        reading = asyncio.create_task(self._asked(commands))
        self._readings.add(reading)
        reading.add_done_callback(self._ended)
        try:
            # Not asyncio.timeout: redis-py sends under wait_for, which before Python 3.12 swallows a cancellation
            # that comes as the send ends, and then the request would wait for the socket's own 5 s.
            await asyncio.wait({reading}, timeout=self._patience_s)
        finally:
            finished = reading.done()
            reading.cancel()
        if not finished:
            raise StoreTimeoutError(f"no answer within {self._patience_s} s")
        for reply in reading.result():
            if isinstance(reply, ResponseError):
                raise reply
        return reading.result()

    async def close(self) -> None:
        """Drop all connections, and what is still being read on them."""
        for reading in self._readings:
            reading.cancel()
        if self._readings:
            await asyncio.wait(self._readings)
        while not self._idle.empty():
            await self._idle.get_nowait().close()

    async def _asked(self, commands: Sequence[Command | Sequence[Any]]) -> list[Any]:
        """The replies; a connection that broke while it lay idle shows only now, so a second try is fair."""
        wire = await self._idle.get()
        try:
            try:
                return await wire.call(*commands)
            except (StoreConnectionError, OSError):
                return await wire.call(*commands)
        finally:
            self._idle.put_nowait(wire)

    def _ended(self, reading: asyncio.Task[list[Any]]) -> None:
        self._readings.discard(reading)
        if not reading.cancelled():
            reading.exception()  # seen: one that nobody waited for any more is no fault
