"""The reference for api and ingest: a bare aiohttp handler that answers fixed bytes to every POST.

It reads the body, since no service can answer without. Prints its port.
"""

import argparse
import asyncio
from pathlib import Path

import msgspec
import uvloop
from aiohttp import web


class FixedAnswer(msgspec.Struct, frozen=True):
    """What it answers."""

    path: str
    headers: dict[str, str]
    body: bytes
    status: int = 200


async def serve(answer: FixedAnswer) -> None:
    """Serves on any free port until the process is stopped."""

    async def handler(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    app = web.Application()
    app.router.add_post(answer.path, handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(prog="python -m bench.bare_server", description=__doc__)
    _parser.add_argument("answer", type=Path, help="JSON of path, headers and body (base64)")
    uvloop.run(serve(msgspec.json.decode(_parser.parse_args().answer.read_bytes(), type=FixedAnswer)))
