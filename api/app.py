"""The role `icaze api`: answers the questions of citizens' services about permits.

Reads day records. Writes nothing but its metrics.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from redis.exceptions import RedisError

from api import dev_issuer
from api.auth import Verify, no_issuer
from api.status import StatusDoor
from api.wires import Wires
from lua.keys import PartitionKeys
from permits import policy as policies
from permits.partition import Route
from permits.policy import Policy, PolicyError
from runtime import durability, embedded, layout, lifecycle
from runtime.connection import STORE_ERRORS, connect
from runtime.doors import new_app, opened
from runtime.errors import StartupError
from runtime.settings import Settings, load
from runtime.telemetry import REQUESTS, Log, start_logging

MAX_BODY_BYTES: Final = 4096
"""A question is a few dozen bytes."""
PING_S: Final = 1.0
_log = Log("api")


def build_app(
    *,
    wires: Wires,
    partitions: Sequence[PartitionKeys],
    route: Route,
    policy: Policy,
    verify: Verify,
    durability_level: str,
    now_ms: Callable[[], int],
) -> web.Application:
    """The application on ready-made parts; it does not close the wires."""

    async def readiness() -> dict[str, Any]:
        return {"ready": await _answers(wires), "role": "api", "durability": durability_level}

    app = new_app(readiness=readiness, max_body_bytes=MAX_BODY_BYTES)
    app.middlewares.insert(0, counted)  # outermost, so that it sees problems as the statuses they became
    status = StatusDoor(wires=wires, partitions=partitions, route=route, policy=policy, verify=verify, now_ms=now_ms)
    app.router.add_post("/v1/status", status.ask)
    return app


@web.middleware
async def counted(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Counts answers by route, never by path: a path is the caller's own text."""
    response = await handler(request)
    resource = request.match_info.route.resource
    REQUESTS.labels("none" if resource is None else resource.canonical, str(response.status)).inc()
    return response


def configure(parser: argparse.ArgumentParser) -> None:
    """The role takes no arguments: ICAZE_* variables say all."""
    parser.description = "Serves the api until it is stopped; ICAZE_* variables are its settings."


def run(_: argparse.Namespace) -> int:
    """Serves until SIGINT or SIGTERM; 1 where it cannot start."""
    return lifecycle.run(_serve)


async def _serve(stop: asyncio.Event) -> int:
    settings = load()
    start_logging(settings.log_level)
    url = settings.redis_url or embedded.url(settings.data)
    route = layout.route(settings)
    policy = _policy(settings)
    verify = _verifier(settings)
    partitions = await _settled(url, settings, route)
    wires = Wires(url)
    app = build_app(
        wires=wires,
        partitions=partitions,
        route=route,
        policy=policy,
        verify=verify,
        durability_level=settings.durability,
        now_ms=_wall_ms,
    )
    try:
        async with opened(app, settings, settings.api_port, "api") as port:
            sys.stdout.write(f"api  http://{settings.host}:{port}\n")
            sys.stdout.flush()
            await stop.wait()
    finally:
        await wires.close()
    return 0


async def _settled(url: str, settings: Settings, route: Route) -> list[PartitionKeys]:
    """The keys of every partition, from a store that keeps what the settings promise."""
    client = connect(url)
    try:
        await durability.check(client, settings)
        return await layout.settle(client, route)
    except (RedisError, OSError) as error:
        raise StartupError(
            f"api: the store does not serve ({type(error).__name__}); start `icaze up` or set ICAZE_REDIS_URL"
        ) from None
    finally:
        await client.aclose()


def _policy(settings: Settings) -> Policy:
    try:
        return policies.load(Path(settings.policy_file)) if settings.policy_file else policies.load()
    except PolicyError as error:
        raise StartupError(f"policy: {error}") from None


def _verifier(settings: Settings) -> Verify:
    if settings.dev_issuer:
        return dev_issuer.verifier(dev_issuer.key_pair(settings), _wall_ms)
    _log.warning("no issuer is configured: every token is refused; for development set ICAZE_DEV_ISSUER=true")
    return no_issuer


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


async def _answers(wires: Wires) -> bool:
    try:
        async with asyncio.timeout(PING_S):
            await wires.read(("PING",))
    except (RedisError, *STORE_ERRORS):
        return False
    return True
