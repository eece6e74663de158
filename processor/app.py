"""The worker: `icaze process`. Takes its share of the partitions: runs a lane on each, and tends their employees."""

import argparse
import asyncio
import time
from contextlib import aclosing
from typing import Any, Final

from redis.exceptions import RedisError, ResponseError

from lua.keys import INBOUND_GROUP, PartitionKeys
from lua.store import Store
from processor.approvals import Wordings
from processor.archive.archiver import Archiver
from processor.batch import Preparer
from processor.busy_phones import BusyPhones
from processor.employee_work import working
from processor.held_replies import HeldReplies
from processor.housekeeping import Housekeeping
from processor.lane import DecideLane
from processor.registry import registry_of
from processor.turns import Turns
from runtime import doors, embedded, keyring, layout, lifecycle, settings
from runtime.connection import Client
from runtime.day_keys import DayKeys
from runtime.fitness import answers, load_functions, settled
from runtime.keyring import SenderSeal
from runtime.leases import Lease, Leases
from runtime.policies import Policies, file_of
from runtime.settings import Settings
from runtime.shared import SharedWire
from runtime.telemetry import Log, start_logging
from runtime.topology import client_to, wire_to

PACE_S: Final = 0.0008
"""Times the partitions held: the least time between small batches of one, some 1,250 calls a second a worker."""
BATCHES_AT_ONCE: Final = 16
"""Batches of one worker under way: enough that the store never waits, few enough that none waits long for its sync."""


def configure(parser: argparse.ArgumentParser) -> None:
    """No arguments: settings say everything."""
    parser.description = "decide inbound SMS and have employees confirmed; any number share the partitions"


def run(_: argparse.Namespace) -> int:
    """The role, until it is told to stop."""
    return lifecycle.run(serve)


async def serve(stop: asyncio.Event) -> int:
    """Connect, check the store, take partitions, decide."""
    current = settings.load()
    start_logging(current.log_level)
    url = current.redis_url or embedded.url(current.data)
    file, _ = file_of(current)
    route = layout.route(current)
    personal = keyring.load(current)
    seal = SenderSeal(personal)
    async with aclosing(client_to(url)) as client:
        partitions = await settled(client, current, route, url, load_functions, make_groups)
        asking = wire_to(url)
        policies = Policies(asking.execute_command, key=partitions[0].policies, file=file)
        await policies.begin()
        keys_wire = SharedWire(wire_to(url))
        day_keys = DayKeys(keys_wire.execute_command, key=partitions[0].day_keys, keyring=personal)
        await day_keys.begin()
        policy = policies.latest()  # for its documents, which no version changes
        registry = registry_of(current, accepts=policy.documents.accepts)
        turns = Turns(BATCHES_AT_ONCE)
        phones = BusyPhones(wire_to(url), partitions)
        wordings = Wordings(current.script)

        def new_lane(lease: Lease) -> DecideLane:
            preparer = Preparer(
                index=lease.index,
                keys=lease.keys,
                route=route,
                policy=policies.current,
                wordings=wordings,
                seal=seal,
                phones=phones,
                day_keys=day_keys,
            )
            return DecideLane(
                lease,
                preparer=preparer,
                wire=wire_to(url),
                partitions=partitions,
                turns=turns,
                batch=current.batch,
                pace_s=lambda: len(leases.held) * PACE_S,
                wall_ms=_wall_ms,
            )

        leases = Leases(
            wire_to(url), role="decide", partitions=partitions, lease_ms=current.lease_ms, new_lane=new_lane
        )
        worker = _Worker(client, partitions, leases, current)
        housekeeping = Housekeeping(
            client,
            partitions,
            held=lambda: leases.held,
            retention=lambda: policies.latest().retention,
            wall_ms=_wall_ms,
        )
        app = doors.new_app(readiness=worker.readiness)
        work = working(
            url,
            held=lambda: leases.held,
            route=route,
            partitions=partitions,
            personal=personal,
            policy=policy,
            registry=registry,
        )
        async with doors.opened(app, current, current.process_port, "process") as port, work:
            print(f"process  http://{current.host}:{port}", flush=True)
            held_replies = HeldReplies(
                wire_to(url),
                leases=lambda: leases.leases,
                policy=policies.current,
                wordings=wordings,
                seal=seal,
                wall_ms=_wall_ms,
            )
            archiver = Archiver(
                wire_to(url), folder=current.archive, leases=lambda: leases.leases, replicas=current.awaited
            )
            beside = [
                asyncio.create_task(housekeeping.run()),
                asyncio.create_task(archiver.run()),
                asyncio.create_task(held_replies.run()),
                asyncio.create_task(policies.follow()),
                asyncio.create_task(day_keys.follow()),
                asyncio.create_task(phones.run()),
            ]
            await leases.run(stop, until_done=worker.drained)
            for task in beside:
                task.cancel()
            await asyncio.wait(beside, timeout=1)  # no longer: redis-py can swallow a cancellation on Python 3.11
            await asking.close()
            await keys_wire.close()
    return 0


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


async def make_groups(store: Store, partitions: list[PartitionKeys]) -> None:
    """The consumer group on every inbound stream, from its beginning."""
    for keys in partitions:
        if await _has_group(store, keys.inbound):
            continue  # a full store refuses XGROUP CREATE, and its backlog must still be drained
        try:
            await store.execute_command("XGROUP", "CREATE", keys.inbound, INBOUND_GROUP, "0", "MKSTREAM")
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise


async def _has_group(store: Store, stream: str) -> bool:
    try:
        groups: list[dict[str, Any]] = await store.execute_command("XINFO GROUPS", stream)
    except ResponseError:  # no such stream
        return False
    return any(group["name"] == INBOUND_GROUP.encode() for group in groups)


class _Worker:
    """What a worker does beside its lanes."""

    def __init__(
        self,
        client: Client,
        partitions: list[PartitionKeys],
        leases: Leases,
        current: Settings,
    ) -> None:
        self._client = client
        self._partitions = partitions
        self._leases = leases
        self._settings = current
        self._log = Log("process")

    async def readiness(self) -> dict[str, Any]:
        """Facts for `/readyz`."""
        return {
            "ready": await answers(self._client),
            "role": "process",
            **self._settings.promise,
            "partitions": len(self._leases.held),
        }

    async def drained(self) -> None:
        """Returns when nothing undecided is left in our partitions, or after the patience of a stop."""
        # No `asyncio.timeout`: redis-py's own time limit can swallow a cancellation on Python 3.11.
        deadline = time.monotonic() + self._settings.drain_s
        try:
            while await self._undecided():
                if time.monotonic() >= deadline:
                    raise TimeoutError
                await asyncio.sleep(0.05)
        except (TimeoutError, RedisError, OSError):
            self._log.warning("stopped with undecided SMS; another worker goes on with them")

    async def _undecided(self) -> int:
        lengths = [
            await self._client.execute_command("XLEN", self._partitions[index].inbound) for index in self._leases.held
        ]
        return sum(lengths)
