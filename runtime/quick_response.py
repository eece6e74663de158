"""The plainest answer, a status and a body, as it goes over the wire: head and body in one write.

Used by `api.door` and `ingest.app`: the response that aiohttp makes for every case costs a request more than the rest
of a door.
"""

from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from time import time
from typing import Final

from aiohttp import ClientConnectionResetError, HttpVersion11, web
from aiohttp.http import SERVER_SOFTWARE

from runtime.tracing import REQUEST_ID

MOST_HEADS: Final = 16
"""Kept at once: one for each media type, status and second."""


def fits(request: web.Request) -> bool:
    """Whether the caller speaks HTTP/1.1 and keeps the connection: all else is left to aiohttp's own response."""
    return request.version == HttpVersion11 and request.keep_alive


class QuickResponse(web.StreamResponse):
    """Needs a request that `fits`, and an id that is checked or our own: nobody can put a line of theirs into it."""

    def __init__(  # its parts would be made in vain
        self, media: str, request_id: str, body: bytes, status: HTTPStatus = HTTPStatus.OK
    ) -> None:
        self._answered = status
        head = _head(status, media, int(time()))
        self._wire = f"{head}{request_id}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    @property
    def status(self) -> int:
        """As the door counts it."""
        return self._answered.value

    @property
    def keep_alive(self) -> bool:
        """Read by the server once the answer is out."""
        return True

    async def prepare(self, request: web.BaseRequest) -> None:
        """Called by the server: writes all; ConnectionError where the caller is gone, waits where it does not read."""
        protocol = request.protocol
        transport = protocol.transport
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError
        transport.write(self._wire)
        if protocol.writing_paused:
            await request.writer.drain()

    async def write_eof(self, data: bytes = b"") -> None:
        """Called by the server: nothing is left to write."""


@lru_cache(MOST_HEADS)
def _head(status: HTTPStatus, media: str, at_s: int) -> str:
    """All that is the same in the answers of a second."""
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nCache-Control: no-store\r\nContent-Type: {media}\r\n"
        f"Date: {formatdate(at_s, usegmt=True)}\r\nServer: {SERVER_SOFTWARE}\r\n{REQUEST_ID}: "
    )
