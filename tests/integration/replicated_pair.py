"""A primary and its replica, with a link between them that a test can cut: what is sent then is held back."""

import asyncio
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp.test_utils import unused_port

from lua.library import ensure_loaded
from runtime.connection import STORE_ERRORS, connect
from runtime.embedded import server_binary
from tests.eventually import eventually


class Server:
    """One server that syncs each write, on a port of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        folder.mkdir(parents=True)
        self.port = unused_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
        words += ["--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0"]
        self._process = subprocess.Popen(
            [server_binary(), *words, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill(self) -> None:
        """As a crash would."""
        self._process.kill()
        self._process.wait()


class Pair:
    """The servers and what is between them."""

    def __init__(self, folder: Path) -> None:
        self.primary = Server(folder / "primary", "--repl-timeout", "600")
        self.replica = Server(folder / "replica", "--repl-timeout", "600")
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """Nothing passes between them, and neither is told."""
        self._open.clear()

    def mend(self) -> None:
        """What was held back goes on."""
        self._open.set()

    async def promote(self) -> None:
        """The primary dies with what never passed; the replica takes its place."""
        self.primary.kill()
        for task in self._tasks:
            task.cancel()
        await self.tell(self.replica, "REPLICAOF", "NO", "ONE")

    async def tell(self, server: Server, *words: str | int) -> object:
        """One command to one of them."""
        client = connect(server.url)
        try:
            return await client.execute_command(*words)
        finally:
            await client.aclose()

    async def answers(self, server: Server) -> bool:
        """Whether a server is up."""
        try:
            return bool(await self.tell(server, "PING"))
        except STORE_ERRORS:
            return False

    async def is_in_step(self) -> bool:
        """Whether the replica has all that was written, and has done with the rewrite that follows a full sync."""
        info = await self.tell(self.replica, "INFO", "persistence")
        assert isinstance(info, dict)
        if info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"]:  # pyright: ignore[reportUnknownArgumentType]
            return False
        client = connect(self.primary.url)
        try:
            await client.execute_command("SET", "first", "")
            return await client.execute_command("WAIT", 1, 1000) == 1
        finally:
            await client.aclose()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """All that comes one way, while the link is whole."""
        try:
            while data := await reader.read(1 << 16):
                await self._open.wait()
                writer.write(data)
        finally:
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the replica to the primary."""
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.primary.port)
        except ConnectionRefusedError:  # it has died
            writer.close()
            return
        for ends in ((reader, back), (there, writer)):
            task = asyncio.create_task(self.carry(*ends))
            self._tasks.add(task)

    async def close(self) -> None:
        """End both servers."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.primary.kill()
        self.replica.kill()


@asynccontextmanager
async def replicating(folder: Path) -> AsyncGenerator[Pair]:
    """A pair in step, that waits for its replica as a primary should, the library loaded."""
    pair = Pair(folder)
    link = await asyncio.start_server(pair.serve, "127.0.0.1", 0)
    try:
        for server in (pair.primary, pair.replica):
            await eventually(lambda server=server: pair.answers(server))
        port: int = link.sockets[0].getsockname()[1]
        await pair.tell(pair.replica, "REPLICAOF", "127.0.0.1", port)
        await eventually(pair.is_in_step)
        await pair.tell(pair.primary, "CONFIG", "SET", "min-replicas-to-write", 1)
        await pair.tell(pair.primary, "CONFIG", "SET", "min-replicas-max-lag", 600)
        client = connect(pair.primary.url)
        await ensure_loaded(client)
        await client.aclose()
        yield pair
    finally:
        link.close()
        await pair.close()
