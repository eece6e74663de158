"""A link of ours between two programs: it carries the bytes, sees them, and does to them what bad networks do.

It runs on one event loop; its faults are plain attributes and two calls, for any thread.
"""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Literal

import msgspec

from runtime.connection import Wire

CHUNK: Final = 1 << 16
LONGEST_WORD: Final = 64
"""Bytes of a word that a link looks for; it may be torn over pieces."""
Step = Literal["asked", "answered"]


class Trap(msgspec.Struct, gc=False):
    """What to do once, when a word has come: with its request (`asked`), or with the reply to it, which is lost."""

    word: bytes
    step: Step
    spring: Callable[[], object]


class _Pair:
    """One connection: a client's side and the server's."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.deaf: set[bool] = set()
        """Directions that have lost bytes (True: requests): TCP never goes on after a hole, so nothing follows."""
        self.endless = False
        """Whether the client does not hear of the server's end either; it does where no more than a piece was lost."""
        self.trap: Trap | None = None
        """A trap whose request has gone on, and whose reply has not come yet."""


class Link:
    """A door of its own on loopback, and one server behind it."""

    def __init__(self, upstream: str = "") -> None:
        self.upstream = upstream
        """`unix://path` or `host:port`; may change, new connections go there."""
        self.port = 0
        self.drop_requests = False
        self.drop_replies = False
        self.delay_s = 0.0
        """Added to each piece, both ways."""
        self.bytes_a_second = 0.0
        """Both ways together; 0: no limit."""
        self.hung = False
        """As if the server's machine had gone without a word: connections open, and stay open, and nothing answers."""
        self.traps: list[Trap] = []
        self.struck = Counter[str]()
        """Pieces, by what was done to them; connections, for `reset`."""
        self.words: dict[bytes, int] = {}
        """How often each of these words has passed in requests; put a word in to have it counted."""
        self._pairs: set[_Pair] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen on a free port of loopback."""
        self._loop = asyncio.get_running_loop()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End the door and every connection."""
        assert self._server is not None, "not open"
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports end a step after they are told to

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # In a task of its own: a stream server complains of a handler that is cancelled.
        task = asyncio.ensure_future(self._connected(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    def url(self) -> str:
        """For a client of a store."""
        return f"redis://127.0.0.1:{self.port}"

    def reset(self) -> None:
        """Break every connection now, with RST both ways."""
        self._soon(self._reset)

    def hang(self) -> None:
        """Go away without a word: those connected now never hear anything again, even once `hung` is taken back."""
        self.hung = True
        self._soon(self._hang)

    def _soon(self, act: Callable[[], None]) -> None:
        assert self._loop is not None, "not open"
        self._loop.call_soon_threadsafe(act)

    def _reset(self) -> None:
        for pair in self._pairs:
            self.struck["reset"] += 1
            for writer in (pair.client, pair.server):
                _break(writer)

    def _hang(self) -> None:
        for pair in self._pairs:
            pair.deaf, pair.endless = {True, False}, True
            _break(pair.server)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = self.upstream
        if self.hung:
            self.struck["hung"] += 1
            try:
                while await reader.read(CHUNK):
                    self.struck["hung"] += 1
            except OSError:
                pass
            finally:
                writer.close()
            return
        try:
            if upstream.startswith("unix://"):
                there, back = await asyncio.open_unix_connection(upstream.removeprefix("unix://"))
            else:
                host, _, port = upstream.rpartition(":")
                there, back = await asyncio.open_connection(host, int(port))
        except (OSError, ValueError):
            _break(writer)  # nobody is there: the caller must see that and not an empty answer
            return
        pair = _Pair(writer, back)
        self._pairs.add(pair)
        try:
            await asyncio.gather(self._carry(pair, reader, back, True), self._carry(pair, there, writer, False))
        finally:
            self._pairs.discard(pair)
            writer.close()
            back.close()

    async def _carry(
        self, pair: _Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, requests: bool
    ) -> None:
        """Everything one way, until either side closes."""
        tail = b""
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                if requests:
                    tail = self._look(pair, tail, data)
                elif pair.trap is not None:
                    self._spring(pair, pair.trap)
                if await self._passes(pair, data, requests):
                    writer.write(data)
                    await writer.drain()
        if requests or not pair.endless:
            writer.close()

    def _look(self, pair: _Pair, tail: bytes, data: bytes) -> bytes:
        """Count words and meet traps in a request; what the next piece must be looked at with."""

        def times(word: bytes) -> int:
            return (tail[len(tail) - len(word) + 1 :] + data if len(tail) >= len(word) else tail + data).count(word)

        for word in self.words:
            self.words[word] += times(word)
        met = next((trap for trap in self.traps if times(trap.word)), None)
        if met is not None:
            self.traps.remove(met)
            pair.trap = met
            if met.step == "asked":
                self._spring(pair, met)
        return (tail + data)[-LONGEST_WORD:]

    def _spring(self, pair: _Pair, trap: Trap) -> None:
        pair.trap = None
        pair.deaf.add(trap.step == "asked")
        self.struck[trap.step] += 1
        trap.spring()

    async def _passes(self, pair: _Pair, data: bytes, requests: bool) -> bool:
        """Whether a piece goes on, after what the faults of now have cost it."""
        if self.delay_s:
            self.struck["delay"] += 1
            await asyncio.sleep(self.delay_s)
        if self.bytes_a_second:
            self.struck["throttle"] += 1
            await asyncio.sleep(len(data) / self.bytes_a_second)
        if self.hung:
            self.struck["hung"] += 1
            pair.deaf, pair.endless = {True, False}, True
        elif requests and self.drop_requests:
            self.struck["drop_requests"] += 1
            pair.deaf.add(True)
            pair.endless = True
        elif not requests and self.drop_replies:
            self.struck["drop_replies"] += 1
            pair.deaf.add(False)
            pair.endless = True
        return requests not in pair.deaf


@asynccontextmanager
async def linked(upstream: str) -> AsyncGenerator[Link]:
    """A link to a server, open."""
    link = Link(upstream)
    await link.open()
    try:
        yield link
    finally:
        await link.close()


def _break(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST."""
    sock: socket.socket | None = writer.get_extra_info("socket")
    if sock is not None and sock.family == socket.AF_INET:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def impatient(wire: Wire) -> Callable[..., Awaitable[Any]]:
    """As `Wire.execute_command`, giving up soon."""

    async def ask(*command: Any) -> Any:
        (reply,) = await wire.call(command, timeout_s=0.1)
        return reply

    return ask
