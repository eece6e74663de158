"""One connection for many askers: what is asked in one turn of the loop leaves in one write, and shares one sync.

So a hundred changes of a hundred records cost the store's disk one wait, not a hundred.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.exceptions import ResponseError

from lua.calls import Command
from runtime.connection import Wire


class SharedWire:
    """A `Wire` that any number of tasks may use at once."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._asked: list[tuple[Sequence[Command], asyncio.Future[list[Any]], int]] = []
        self._sending: asyncio.Task[None] | None = None

    async def send(self, commands: Sequence[Command], replicas: int = 0) -> list[Any]:
        """Raw replies in order, error replies in their place; waits for replicas and raises as `Wire.call` does."""
        if not commands:
            return []
        answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._asked.append((commands, answer, replicas))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())
        return await answer

    async def ask(self, commands: Sequence[Command], replicas: int = 0) -> list[Any]:
        """As `send`; an error reply is raised."""
        replies = await self.send(commands, replicas)
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise reply
        return replies

    async def execute_command(self, *args: Any) -> Any:
        """One command and its reply; an error reply is raised."""
        (reply,) = await self.ask([list(args)])
        return reply

    async def _send(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, []
            try:
                replies = await self._wire.call(
                    *[command for commands, _, _ in asked for command in commands],
                    replicas=max(replicas for _, _, replicas in asked),
                )
            except Exception as error:  # noqa: BLE001  # each asker gets it
                for _, answer, _ in asked:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            start = 0
            for commands, answer, _ in asked:
                if not answer.done():
                    answer.set_result(replies[start : start + len(commands)])
                start += len(commands)
        self._sending = None

    async def close(self) -> None:
        """Drop the connection; nobody may be asking any more."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait({self._sending})
        await self._wire.close()
