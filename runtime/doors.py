"""The HTTP door of a role: its port, and `/healthz`, `/readyz`, `/metrics` on each."""

import errno
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from aiohttp import hdrs, web
from prometheus_client import generate_latest

from runtime.errors import StartupError
from runtime.problems import problems
from runtime.settings import Settings
from runtime.telemetry import REGISTRY

Readiness = Callable[[], Awaitable[dict[str, Any]]]
"""Facts for `/readyz`; `ready` false makes it a 503."""
ShortWay = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
ShortWays = dict[tuple[str, str], ShortWay]
SHORT_WAYS: Final = web.AppKey("short_ways", ShortWays)
"""Handlers by method and path, for paths without a variable: aiohttp's router costs each request 2 µs and more.
They must never raise, and see no middleware. Whatever is written in another way takes the long way."""


def new_app(*, readiness: Readiness, max_body_bytes: int = 1 << 20) -> web.Application:
    """An application with problems as errors and the three health routes."""
    app = web.Application(middlewares=[problems], client_max_size=max_body_bytes)

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        facts = {**await readiness(), "pid": os.getpid()}
        return web.Response(
            body=msgspec.json.encode(facts), status=200 if facts["ready"] else 503, content_type="application/json"
        )

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": "text/plain; version=0.0.4"})

    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    return app


def shorten(runner: web.AppRunner) -> None:
    """Open the short ways of a runner's application; called once it is set up, before it serves."""
    server = runner.server
    assert server is not None  # noqa: S101  # for the types
    ways, rest = runner.app.get(SHORT_WAYS, ShortWays()), server.request_handler

    def handle(request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        way = ways.get((request.method, request.raw_path))
        return rest(request) if way is None or hdrs.EXPECT in request.headers else way(request)

    server.request_handler = handle


@asynccontextmanager
async def opened(app: web.Application, settings: Settings, port: int, role: str) -> AsyncGenerator[int, None]:
    """Serve an application on the role's port; yields the port, StartupError where it is taken.

    Leaving finishes the requests under way.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=settings.drain_s)
    await runner.setup()
    shorten(runner)
    try:
        site = web.TCPSite(runner, settings.host, port, backlog=1024)
        try:
            await site.start()
        except OSError as error:
            why = "is taken by another process" if error.errno == errno.EADDRINUSE else str(error.strerror)
            raise StartupError(
                f"{role}: port {port} on {settings.host} {why}; set ICAZE_{role.upper()}_PORT (0: any free port)"
            ) from None
        address: tuple[str, int] = runner.addresses[0]
        yield address[1]
    finally:
        await runner.cleanup()
