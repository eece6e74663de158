"""The dispatcher: `icaze dispatch`. Takes its share of the partitions and sends their replies."""

import argparse
import asyncio
import time
from contextlib import aclosing
from typing import Any

from redis.exceptions import RedisError

from dispatch.dispatcher import Dispatcher
from dispatch.operators.console import ConsoleOperator
from dispatch.operators.http import HttpOperator
from dispatch.operators.port import Operator
from lua import calls
from lua.keys import DISPATCH_GROUP
from lua.library import LibraryDiffersError, ensure_loaded
from runtime import doors, durability, embedded, layout, lifecycle, settings
from runtime.connection import Client, connect, shown
from runtime.errors import StartupError
from runtime.settings import Settings
from runtime.telemetry import start_logging


def configure(parser: argparse.ArgumentParser) -> None:
    """No arguments: settings say everything."""
    parser.description = "send replies to the operator; any number of dispatchers share the partitions"


def run(_: argparse.Namespace) -> int:
    """The role, until it is told to stop."""
    return lifecycle.run(serve)


def operator_of(current: Settings) -> Operator:
    """The operator that the settings name."""
    if current.operator == "console":
        return ConsoleOperator()
    if not current.operator_url.startswith(("http://", "https://")):
        raise StartupError("ICAZE_OPERATOR=http needs ICAZE_OPERATOR_URL, an http:// or https:// address")
    return HttpOperator(current.operator_url, timeout_s=current.operator_timeout_s, connections=current.operator_window)


async def serve(stop: asyncio.Event) -> int:
    """Connect, check the store, take partitions, send; at a stop send what is left first."""
    current = settings.load()
    start_logging(current.log_level)
    operator = operator_of(current)
    url = current.redis_url or embedded.url(current.data)
    route = layout.route(current)
    async with aclosing(connect(url)) as client:
        try:
            await durability.check(client, current)
            partitions = await layout.settle(client, route)
            await ensure_loaded(client)
            now_ms = time.time_ns() // 1_000_000
            for keys in partitions:
                await calls.register(client, keys, group=DISPATCH_GROUP, now_ms=now_ms)
        except LibraryDiffersError as error:
            raise StartupError(str(error)) from None
        except (RedisError, OSError) as error:
            raise StartupError(f"store {shown(url)}: {error}") from None
        dispatcher = Dispatcher(client, url, operator=operator, partitions=partitions, settings=current)

        async def readiness() -> dict[str, Any]:
            return {
                "ready": await _answers(client),
                "role": "dispatch",
                "durability": current.durability,
                "operator": current.operator,
                "partitions": len(dispatcher.held),
            }

        app = doors.new_app(readiness=readiness)
        async with doors.opened(app, current, current.dispatch_port, "dispatch") as port:
            print(f"dispatch  http://{current.host}:{port}", flush=True)
            await dispatcher.run(stop)
        await operator.close()
    return 0


async def _answers(client: Client) -> bool:
    try:
        return bool(await client.execute_command("PING"))
    except (RedisError, OSError):
        return False
