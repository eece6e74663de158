"""The dispatcher: `icaze dispatch`. Takes its share of the partitions: sends replies, and tends outboxes."""

import argparse
import asyncio
import time
from contextlib import aclosing
from typing import Any

from dispatch.dispatcher import Dispatcher
from dispatch.ministry.http import http_ministry
from dispatch.ministry.off import NoMinistry
from dispatch.ministry.port import Ministry
from dispatch.operators.console import ConsoleOperator
from dispatch.operators.http import HttpOperator
from dispatch.operators.port import Operator
from dispatch.outbox.outbox import Outbox
from lua import calls
from lua.keys import DISPATCH_GROUP, PartitionKeys
from runtime import doors, embedded, keyring, layout, lifecycle, settings
from runtime.connection import Client
from runtime.day_keys import DayKeys
from runtime.epochs import Epochs
from runtime.errors import StartupError
from runtime.fitness import answers, load_functions, settled
from runtime.keyring import Keyring
from runtime.settings import Settings
from runtime.shared import SharedWire
from runtime.telemetry import Log, start_logging
from runtime.topology import client_to, wire_to


def configure(parser: argparse.ArgumentParser) -> None:
    """No arguments: settings say everything."""
    parser.description = (
        "send replies to the operator and organisations' permits to the Ministry; any number share the partitions"
    )


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


def ministry_of(current: Settings, personal: Keyring) -> Ministry | NoMinistry:
    """The Ministry that the settings name."""
    if current.ministry == "http":
        return http_ministry(current, personal)
    Log("dispatch").warning("no Ministry: confirmed permits count without being transmitted")
    return NoMinistry()


async def serve(stop: asyncio.Event) -> int:
    """Connect, check the store, take partitions, send; at a stop send what is left first."""
    current = settings.load()
    start_logging(current.log_level)
    operator = operator_of(current)
    personal = keyring.load(current)
    ministry = ministry_of(current, personal)
    url = current.redis_url or embedded.url(current.data)
    route = layout.route(current)
    async with aclosing(client_to(url)) as client:
        partitions = await settled(client, current, route, url, load_functions, _register)
        keys_wire = SharedWire(wire_to(url))
        day_keys = DayKeys(keys_wire.execute_command, key=partitions[0].day_keys, keyring=personal)
        await day_keys.begin()
        dispatcher = Dispatcher(
            client, url, operator=operator, partitions=partitions, settings=current, day_keys=day_keys
        )
        wire, epochs_wire = SharedWire(wire_to(url)), wire_to(url)
        epochs = Epochs(epochs_wire.execute_command)
        await epochs.begin()
        outbox = Outbox(
            wire,
            leases=lambda: dispatcher.leases,
            ministry=ministry,
            route=route,
            partitions=partitions,
            keyring=personal,
            epochs=epochs,
            replicas=current.awaited,
        )

        async def readiness() -> dict[str, Any]:
            return {
                "ready": await answers(client),
                "role": "dispatch",
                **current.promise,
                "operator": current.operator,
                "ministry": current.ministry,
                "partitions": len(dispatcher.held),
            }

        app = doors.new_app(readiness=readiness)
        async with doors.opened(app, current, current.dispatch_port, "dispatch") as port:
            print(f"dispatch  http://{current.host}:{port}", flush=True)
            await _worked(dispatcher, outbox, epochs, day_keys, stop)
        await wire.close()
        await epochs_wire.close()
        await keys_wire.close()
        await operator.close()
        await ministry.close()
    return 0


async def _register(client: Client, partitions: list[PartitionKeys]) -> None:
    """Our group on every reply stream."""
    now_ms = time.time_ns() // 1_000_000
    for keys in partitions:
        await calls.register(client, keys, group=DISPATCH_GROUP, now_ms=now_ms)


async def _worked(
    dispatcher: Dispatcher, outbox: Outbox, epochs: Epochs, day_keys: DayKeys, stop: asyncio.Event
) -> None:
    """All work side by side, until each has done what a stop leaves it; raises what ends one of them."""
    async with asyncio.TaskGroup() as group:
        following = [group.create_task(epochs.follow()), group.create_task(day_keys.follow())]
        tending = group.create_task(outbox.run(stop))
        await dispatcher.run(stop)
        await tending
        for task in following:
            task.cancel()
