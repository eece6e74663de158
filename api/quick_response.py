"""The plainest answer, 200 with a body, as it goes over the wire: head and body in one write.

Used by `door`: the response that aiohttp makes for every case costs a request more than the rest of the door.
"""

from email.utils import formatdate
from functools import lru_cache
from time import time
from typing import Final

from aiohttp import HttpVersion11, web
from aiohttp.http import SERVER_SOFTWARE

# Three things stand in the head that differ from answer to answer: nobody can put a line of their own into it.
_HEAD: Final = (
    "HTTP/1.1 200 OK\r\nX-Request-Id: %s\r\nCache-Control: no-store\r\nContent-Type: {media}\r\n"
    f"Content-Length: %d\r\nDate: %s\r\nServer: {SERVER_SOFTWARE}\r\n\r\n"
)


def fits(request: web.Request) -> bool:
    """Whether the caller speaks HTTP/1.1 and keeps the connection: all else is left to aiohttp's own response."""
    return request.version == HttpVersion11 and request.keep_alive


def head_of(media: str) -> str:
    """What is the same in every answer of a media type; QuickResponse fills in the rest."""
    return _HEAD.format(media=media)


class QuickResponse(web.StreamResponse):
    """Needs a request that `fits`, a head made by `head_of`, and an id that is checked or our own."""

    def __init__(self, head: str, request_id: str, body: bytes) -> None:  # its parts would be made in vain
        self._wire = (head % (request_id, len(body), _date(int(time())))).encode() + body

    @property
    def status(self) -> int:
        """As the door counts it."""
        return 200

    @property
    def keep_alive(self) -> bool:
        """Read by the server once the answer is out."""
        return True

    async def prepare(self, request: web.BaseRequest) -> None:
        """Called by the server: writes all; ConnectionError where the caller is gone, waits where it does not read."""
        await request.writer.write_eof(self._wire)

    async def write_eof(self, data: bytes = b"") -> None:
        """Called by the server: nothing is left to write."""


@lru_cache(maxsize=2)
def _date(at_s: int) -> str:
    """As HTTP writes a time; made once a second."""
    return formatdate(at_s, usegmt=True)
