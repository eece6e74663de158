"""Server-sent events: each sample goes to all who listen, and the last ones are kept for who comes back.

A listener is a place in the ring of samples and nothing else: one that reads slowly holds no memory beside the
buffers of its connection.
"""

import asyncio
from collections import deque
from typing import Final

import msgspec
from aiohttp import web

from api.contract import Call
from runtime.problems import ProblemError

MEDIA_TYPE: Final = "text/event-stream"
KEPT: Final = 300
"""Samples, one a second: who was away for less than five minutes misses nothing."""
MOST_LISTENERS: Final = 64
HEARTBEAT_S: Final = 15.0
"""Proxies drop a connection that says nothing for a minute or less."""
SLOW_S: Final = 10.0
"""A listener that takes nothing for so long is dropped."""
STREAM_S: Final = 900.0
"""A token is judged when a stream opens: so each stream ends after a while, and its reader comes back with one."""
_RETRY: Final = b"retry: 2000\n\n"
_HEARTBEAT: Final = b":\n\n"
_HEADERS: Final = {
    "Content-Type": MEDIA_TYPE,
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would hold events back until a buffer is full
}


class Event(msgspec.Struct, frozen=True):
    """One event, ready to be written."""

    id: int
    text: bytes


class Events:
    """The ring of one stream of events, and its listeners."""

    def __init__(
        self,
        name: str,
        *,
        kept: int = KEPT,
        most_listeners: int = MOST_LISTENERS,
        heartbeat_s: float = HEARTBEAT_S,
        slow_s: float = SLOW_S,
        stream_s: float = STREAM_S,
    ) -> None:
        self._name = name.encode()
        self._ring: deque[Event] = deque(maxlen=kept)
        self._most_listeners = most_listeners
        self._heartbeat_s = heartbeat_s
        self._slow_s = slow_s
        self._stream_s = stream_s
        self._news = asyncio.Event()
        self._listeners: set[web.RequestHandler] = set()
        self._closing = False

    @property
    def listeners(self) -> int:
        """Streams that are open."""
        return len(self._listeners)

    def publish(self, at_s: int, data: bytes) -> None:
        """A new event, whose data has no line breaks; its id is the second, so that other processes know it too.

        Where a second comes again, as after a clock set back, the id is one above the last.
        """
        number = max(at_s, self._newest + 1)
        self._ring.append(Event(number, b"id: %d\nevent: %b\ndata: %b\n\n" % (number, self._name, data)))
        self._wake()

    async def stream(self, call: Call) -> web.StreamResponse:
        """Events from the caller's Last-Event-ID on, else from now on, until either side ends it."""
        request = call.request
        if self._closing or len(self._listeners) >= self._most_listeners:
            raise ProblemError(503, "No place to listen", "come back in a moment", headers={"Retry-After": "10"})
        response = web.StreamResponse(headers={**_HEADERS, "X-Request-Id": call.request_id})
        self._listeners.add(request.protocol)
        try:
            await response.prepare(request)
            await self._feed(request, response)
        except ConnectionError:
            pass  # the listener has left
        except TimeoutError:
            _drop(request.protocol)
        finally:
            self._listeners.discard(request.protocol)
        return response

    def close(self) -> None:
        """End all streams, and let nobody listen any more."""
        self._closing = True
        for listener in self._listeners:
            if listener.writing_paused:  # it does not read: no end could be told to it
                _drop(listener)
        self._wake()

    async def _feed(self, request: web.Request, response: web.StreamResponse) -> None:
        loop = asyncio.get_running_loop()
        ends_at_s = loop.time() + self._stream_s
        last = self._place(request.headers.get("Last-Event-ID", ""))
        text = _RETRY
        while not self._closing and loop.time() < ends_at_s:
            async with asyncio.timeout(self._slow_s):
                await response.write(text)
            event = self._after(last)
            if event is None and await self._heard():
                event = self._after(last)
            text, last = (_HEARTBEAT, last) if event is None else (event.text, event.id)
        async with asyncio.timeout(self._slow_s):
            await response.write_eof()

    def _after(self, last: int) -> Event | None:
        """The next event that is still kept."""
        return None if last >= self._newest else next(event for event in self._ring if event.id > last)

    async def _heard(self) -> bool:
        """Whether something was published, or all ends, before a heartbeat is due."""
        try:
            async with asyncio.timeout(self._heartbeat_s):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    @property
    def _newest(self) -> int:
        return self._ring[-1].id if self._ring else 0

    def _place(self, last_event_id: str) -> int:
        """The id after which a listener reads on; that of the newest where it names none that can be."""
        readable = last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= 12
        return min(int(last_event_id), self._newest) if readable else self._newest


def _drop(listener: web.RequestHandler) -> None:
    if listener.transport is not None:
        listener.transport.abort()
