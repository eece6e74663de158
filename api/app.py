"""The role `icaze api`: answers citizens, police, organisations and officers, over HTTP.

Joins the doors' operations into one registry; each door's module tells what it reads and writes.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, Protocol

from aiohttp import web

from api import docs_page
from api.auth import Verify
from api.authority import Organisations
from api.blocked import BlockedDoor
from api.blocked_bulk import BulkBlockedDoor
from api.checks import ChecksDoor
from api.contract import Operation
from api.delegates import DelegatesDoor
from api.door import elsewhere, routes, short_ways
from api.employee_permits import PermitsDoor
from api.guessing import Guessing
from api.histories import HistoriesDoor
from api.holders import Holders
from api.imports import Imports
from api.issuers import open_verifier
from api.limits import Limits
from api.me import MeDoor
from api.monitor import MonitorDoor
from api.named import Naming
from api.officers import Officers
from api.organisations import OrganisationsDoor
from api.parts import Parts, assembled
from api.permit_lists import PermitListDoor
from api.policies import PoliciesDoor
from api.regime import RegimeDoor
from api.seals import Seals
from api.status import Status
from api.topology import wires_to
from runtime import embedded, keyring, layout, lifecycle
from runtime.doors import SHORT_WAYS, Readiness, new_app, opened
from runtime.epochs import UNREAD, Epochs
from runtime.fitness import load_functions, settled
from runtime.policies import file_of
from runtime.problems import problems
from runtime.settings import load
from runtime.telemetry import start_logging
from runtime.topology import client_to, wire_to

READY_S: Final = 1.0


class DoorModule(Protocol):
    """A module of the api: what it answers."""

    def operations(self) -> list[Operation]:
        """Its entries in the registry."""
        ...


def registry(parts: Parts, monitor: MonitorDoor) -> list[Operation]:
    """Every operation of the api, on ready-made parts."""
    wires, route, now_ms, epochs = parts.wires, parts.route, parts.now_ms, parts.epochs.known
    organisations = Organisations(wires, partitions=parts.partitions, route=route, now_ms=now_ms)
    imports = Imports(organisations, wires, route=route, keyring=parts.keyring, epochs=epochs, now_ms=now_ms)
    naming = Naming(wires, partitions=parts.partitions, policy=parts.policies.latest, now_ms=now_ms)
    holders = Holders(
        wires, partitions=parts.partitions, route=route, policy=parts.policies.latest, epochs=epochs, now_ms=now_ms
    )
    guessing = Guessing(Limits(), time.monotonic)
    doors: list[DoorModule] = [
        Status(holders, guessing),
        MeDoor(holders, guessing),
        ChecksDoor(
            holders,
            guessing,
            wires=wires,
            partitions=parts.partitions,
            policy=parts.policies.latest,
            now_ms=now_ms,
        ),
        OrganisationsDoor(organisations, now_ms=now_ms),
        DelegatesDoor(organisations, keyring=parts.keyring, now_ms=now_ms),
        PermitListDoor(organisations, parts.employment, wires=wires, epochs=epochs, now_ms=now_ms),
        PermitsDoor(
            organisations,
            parts.employment,
            enlist=imports.enlist,
            accepts=parts.policies.latest().documents.accepts,  # which no version changes
            epochs=epochs,
            now_ms=now_ms,
        ),
        imports,
        Officers(
            wires=wires,
            partitions=parts.partitions,
            naming=naming,
            employment=parts.employment,
            keyring=parts.keyring,
            epochs=epochs,
            script=parts.script,
            now_ms=now_ms,
        ),
        RegimeDoor(wires=wires, epochs=parts.epochs, route=route, now_ms=now_ms),
        BlockedDoor(
            guessing,
            wires=wires,
            partitions=parts.partitions,
            route=route,
            policy=parts.policies.latest,
            now_ms=now_ms,
        ),
        BulkBlockedDoor(
            wires=wires, partitions=parts.partitions, route=route, policy=parts.policies.latest, now_ms=now_ms
        ),
        HistoriesDoor(
            holders,
            guessing,
            wires=wires,
            partitions=parts.partitions,
            route=route,
            policy=parts.policies.latest,
            now_ms=now_ms,
        ),
        PoliciesDoor(parts.policies, wires=wires, partitions=parts.partitions, route=route, founding=parts.founding),
        monitor,
    ]
    return [operation for door in doors for operation in door.operations()]


def build_app(operations: Sequence[Operation], *, verify: Verify, readiness: Readiness) -> web.Application:
    """The application that serves a registry of operations and describes it."""
    app = new_app(readiness=readiness)
    app.middlewares.remove(problems)  # every door below does this itself, and a middleware costs each request time
    doors = routes(operations, verify=verify)
    app.add_routes(doors)
    app.add_routes(docs_page.routes(operations))
    app.add_routes([elsewhere(app.router)])
    app[SHORT_WAYS] = short_ways(doors)
    return app


def readiness_of(epochs: Epochs, promise: Mapping[str, str | int]) -> Readiness:
    """What `/readyz` tells: ready as long as the store answers, and every act on all permits can be read."""

    async def readiness() -> dict[str, Any]:
        try:
            async with asyncio.timeout(READY_S):
                await epochs.refresh()
        except UNREAD:
            ready = False
        else:
            ready = True
        return {"ready": ready, "role": "api", **promise}

    return readiness


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
    policy, founding = file_of(settings)
    keys = keyring.load(settings)
    async with open_verifier(settings, _wall_ms) as verify:
        async with aclosing(client_to(url)) as client:
            partitions = await settled(client, settings, route, url, load_functions)
        wires = wires_to(url, seals=Seals(settings.awaited) if settings.awaited else None)
        parts = assembled(
            wires,
            partitions=partitions,
            route=route,
            policy=policy,
            founding=founding,
            keyring=keys,
            script=settings.script,
            now_ms=_wall_ms,
        )
        await parts.policies.begin()
        monitor = MonitorDoor(wire=wire_to(url), partitions=partitions, now_ms=_wall_ms)
        app = build_app(registry(parts, monitor), verify=verify, readiness=readiness_of(parts.epochs, settings.promise))
        monitor.attach(app)
        await parts.epochs.begin()
        await parts.policies.begin()
        following = [asyncio.create_task(work) for work in (parts.epochs.follow(), parts.policies.follow())]
        try:
            async with opened(app, settings, settings.api_port, "api") as port:
                sys.stdout.write(f"api  http://{settings.host}:{port}\n")
                sys.stdout.flush()
                await stop.wait()
        finally:
            for task in following:
                task.cancel()
            await wires.close()
    return 0


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
