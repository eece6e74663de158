"""HTTP/1.1 as cheaply as Python can ask: prepared requests over kept-alive connections.

Used by `open_loop` and `pairs`, whose load must cost much less than the servers that they measure.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import cast
from urllib.parse import urlsplit


class Line(asyncio.Protocol):
    """One keep-alive connection, one question at a time: as cheap as Python can ask."""

    def __init__(self, answered: "Callable[[Line, int], None]") -> None:
        self.intended_s = 0.0
        self.number = 0
        """Of the question under way."""
        self.answer = b""
        """The body of the last answer."""
        self._answered = answered
        self._read = b""
        self._asking = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self.transport = cast("asyncio.Transport", transport)

    def ask(self, request: bytes) -> None:
        """Send a prepared request; `answered` is called with the status of its answer."""
        assert self.transport is not None
        self._asking = True
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        read = self._read = self._read + data
        head = read.find(b"\r\n\r\n")
        if head < 0 or len(read) < head + 4 + _length(read, head):
            return
        self._read = b""
        self._asking = False
        self.answer = read[head + 4 :]
        self._answered(self, int(read[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        if self._asking:
            self.answer = b""
            self._answered(self, 0)


def request_bytes(url: str, path: str, token: str, body: bytes) -> bytes:
    """A question as it goes over the wire."""
    return posted(url, path, body, {"Authorization": f"Bearer {token}"})


def posted(url: str, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """A POST of JSON as it goes over the wire."""
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return (
        f"POST {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n{more}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


async def connected(url: str, count: int, answered: Callable[[Line, int], None]) -> list[Line]:
    """So many lines to a server."""
    address = urlsplit(url)
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Line(answered), address.hostname or "", address.port or 80)
        for _ in range(count)
    ]
    return [line for _, line in made]


def hang_up(lines: Sequence[Line]) -> None:
    """Close all lines."""
    for line in lines:
        if line.transport is not None:
            line.transport.close()


def _length(read: bytes, head: int) -> int:
    """Of the body; aiohttp writes the header's name so."""
    at = read.find(b"Content-Length: ", 0, head)
    return int(read[at + 16 : read.find(b"\r\n", at)]) if at > 0 else 0
