"""A link to the store that tests can cut without closing it: what is sent then is swallowed, as by a lost route."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from runtime.connection import Wire


class DeadLink:
    """A proxy in front of the store."""

    def __init__(self, path: str) -> None:
        self.url = f"unix://{path}"
        self.is_cut = False
        self.asked = 0
        """Pieces that came while it was cut."""
        self.writers: list[asyncio.StreamWriter] = []

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Everything one way, until either side closes."""
        self.writers.append(writer)
        while data := await reader.read(1 << 16):
            if self.is_cut:
                self.asked += 1
            else:
                writer.write(data)
        writer.close()


def impatient(wire: Wire) -> Callable[..., Awaitable[Any]]:
    """As `Wire.execute_command`, giving up soon."""

    async def ask(*command: Any) -> Any:
        (reply,) = await wire.call(command, timeout_s=0.1)
        return reply

    return ask


@asynccontextmanager
async def link_to(url: str) -> AsyncGenerator[DeadLink]:
    """A link to the store at a unix socket."""
    tasks: set[asyncio.Task[None]] = set()
    with tempfile.TemporaryDirectory(prefix="icaze-") as folder:
        link = DeadLink(f"{folder}/link.sock")

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there, back = await asyncio.open_unix_connection(url.removeprefix("unix://"))
            both = {asyncio.create_task(link.carry(reader, back)), asyncio.create_task(link.carry(there, writer))}
            tasks.update(both)
            await asyncio.wait(both)

        server = await asyncio.start_unix_server(serve, f"{folder}/link.sock")
        try:
            yield link
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            for writer in link.writers:
                writer.close()
            await asyncio.gather(*tasks, return_exceptions=True)
