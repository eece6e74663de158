"""The dispatcher: `icaze dispatch`. Takes its share of the partitions and sends their replies."""

import argparse
import asyncio
import time
from contextlib import aclosing
from typing import Any

from redis.exceptions import RedisError

from dispatch.ledger import Ledger
from dispatch.operators.console import ConsoleOperator
from dispatch.operators.http import HttpOperator
from dispatch.operators.port import Operator
from dispatch.reply_lane import ReplyLane
from dispatch.sender import BATCH, Sender
from dispatch.throttle import Throttle
from lua import calls
from lua.keys import DISPATCH_GROUP, PartitionKeys
from lua.library import LibraryDiffersError, ensure_loaded
from runtime import doors, durability, embedded, layout, lifecycle, settings
from runtime.connection import Client, Wire, connect
from runtime.errors import StartupError
from runtime.leases import Lease, Leases
from runtime.settings import Settings
from runtime.telemetry import Log, start_logging


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
            raise StartupError(f"store {url}: {error}") from None
        ledger = Ledger(Wire(url))
        sender = Sender(
            operator=operator,
            ledger=ledger,
            throttle=Throttle(current.operator_rate, BATCH),
            window=current.operator_window,
        )

        def new_lane(lease: Lease) -> ReplyLane:
            return ReplyLane(lease, wire=Wire(url), submit=sender.submit)

        leases = Leases(Wire(url), role="dispatch", partitions=partitions, lease_ms=current.lease_ms, new_lane=new_lane)
        dispatcher = _Dispatcher(client, partitions, leases, current)
        app = doors.new_app(readiness=dispatcher.readiness)
        async with doors.opened(app, current, current.dispatch_port, "dispatch") as port:
            print(f"dispatch  http://{current.host}:{port}", flush=True)
            working = [asyncio.create_task(ledger.run()), asyncio.create_task(sender.run())]
            await leases.run(stop, until_done=dispatcher.drained)
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)
        await operator.close()
    return 0


class _Dispatcher:
    """What a dispatcher does beside sending."""

    def __init__(self, client: Client, partitions: list[PartitionKeys], leases: Leases, current: Settings) -> None:
        self._client = client
        self._partitions = partitions
        self._leases = leases
        self._settings = current
        self._log = Log("dispatch")

    async def readiness(self) -> dict[str, Any]:
        """Facts for `/readyz`."""
        try:
            ready = bool(await self._client.execute_command("PING"))
        except (RedisError, OSError):
            ready = False
        return {
            "ready": ready,
            "role": "dispatch",
            "durability": self._settings.durability,
            "operator": self._settings.operator,
            "partitions": len(self._leases.held),
        }

    async def drained(self) -> None:
        """Returns when our partitions' replies are sent and trimmed, or after the patience of a stop."""
        try:
            async with asyncio.timeout(self._settings.drain_s):
                while await self._unsent():  # noqa: ASYNC110  # the condition stands in the store
                    await asyncio.sleep(0.05)
        except (TimeoutError, RedisError, OSError):
            self._log.warning("stopped with unsent replies; the next dispatcher goes on with them")

    async def _unsent(self) -> bool:
        for index in self._leases.held:
            keys = self._partitions[index]
            groups: list[dict[str, Any]] = await self._client.execute_command("XINFO GROUPS", keys.replies)
            for group in groups:
                if group["name"] != DISPATCH_GROUP.encode():
                    continue
                unread = "(" + group["last-delivered-id"].decode()
                if group["pending"] or await self._client.execute_command(
                    "XRANGE", keys.replies, unread, "+", "COUNT", 1
                ):
                    return True
        return False
