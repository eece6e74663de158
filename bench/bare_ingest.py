"""The reference for arrays pushed to ingest: a bare aiohttp handler that writes each item as it came, and no more.

Reads the body, splits it into its items, writes an XADD of each, packed by hiredis, in one write of the request, and
answers 202 when the store has answered all. It checks nothing, knows no partition, and keeps no order. Prints its port.
"""

import argparse
import asyncio
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any, Final, cast

import hiredis
import msgspec
import uvloop
from aiohttp import web

from bench.posts import PATH

STREAMS: Final = 64
"""As many as ingest has partitions."""
_pack: Callable[[tuple[Any, ...]], bytes] = cast("Any", hiredis.pack_command)  # pyright: ignore[reportUnknownMemberType]


def stream(number: int) -> str:
    """A stream of this server; whoever measures empties it."""
    return f"bare:{{{number}}}"


class Store(asyncio.Protocol):
    """One connection to the store: commands out, answers counted."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()
        self._awaited: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._answered = 0
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        self._reader.feed(data)
        while (answer := self._reader.gets()) is not False:
            if isinstance(answer, Exception):
                raise answer
            self._answered += 1
            wanted, stored = self._awaited[0]
            if self._answered == wanted:
                self._answered = 0
                self._awaited.popleft()
                stored.set_result(None)

    async def write(self, commands: bytes, count: int) -> None:
        """Send commands; returns when all are answered, which is when they are on disk."""
        assert self._transport is not None
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._awaited.append((count, stored))
        self._transport.write(commands)
        await stored


async def serve(socket: str) -> None:
    """Serves on any free port until the process is stopped."""
    _, store = await asyncio.get_running_loop().create_unix_connection(Store, socket)
    decoder = msgspec.json.Decoder(list[msgspec.Raw])
    turns = count()
    streams = [stream(number) for number in range(STREAMS)]

    async def handler(request: web.Request) -> web.Response:
        items = decoder.decode(await request.read())
        packed = [_pack(("XADD", streams[next(turns) % STREAMS], "*", "m", bytes(item))) for item in items]
        await store.write(b"".join(packed), len(packed))
        return web.Response(status=202)

    app = web.Application()
    app.router.add_post(PATH, handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(prog="python -m bench.bare_ingest", description=__doc__)
    _parser.add_argument("socket", help="the store's unix socket")
    uvloop.run(serve(_parser.parse_args().socket))
