"""A store for tests that answers what they tell it to, or not at all."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

PING: Final = b"*1\r\n$4\r\nPING\r\n"


class Store:
    """A store of the test's own on a unix socket: it keeps what each connection sends, and says what it is told to."""

    def __init__(self, path: str) -> None:
        self.url = f"unix://{path}"
        self.received: list[bytearray] = []
        self.chunks: list[bytes] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.serving: set[asyncio.Task[Any]] = set()
        self.answer: Callable[[int, bytes], bytes | None] = lambda connection, data: b"+PONG\r\n" * data.count(b"*")
        """From the connection's number and what it sent; None: close it."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = len(self.received)
        self.received.append(bytearray())
        self.writers.append(writer)
        self.serving |= {task for task in [asyncio.current_task()] if task}
        while data := await reader.read(1 << 20):
            self.received[connection] += data
            self.chunks.append(data)
            said = self.answer(connection, data)
            if said is None:
                break
            writer.write(said)
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def pretending() -> AsyncGenerator[Store]:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"{folder}/s.sock")
        server = await asyncio.start_unix_server(store.serve, f"{folder}/s.sock")
        try:
            yield store
        finally:
            server.close()
            for writer in store.writers:
                writer.close()
            await asyncio.gather(*store.serving, return_exceptions=True)


def greeted(then: Callable[[int, bytes], bytes | None]) -> Callable[[int, bytes], bytes | None]:
    """A store that greets as it should, and goes on as told."""
    return lambda connection, data: b"+PONG\r\n" if data == PING else then(connection, data)
