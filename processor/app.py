"""The worker: `icaze process`. Takes its share of the partitions: runs a lane on each, and tends their employees."""

import argparse
import asyncio
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

from redis.exceptions import RedisError, ResponseError

from lua.keys import INBOUND_GROUP, PartitionKeys
from lua.library import LibraryDiffersError, ensure_loaded
from lua.store import Store
from permits.partition import Route
from permits.policy import PolicyError
from permits.policy import load as load_policy
from processor.batch import Preparer
from processor.employee_work import working
from processor.lane import DecideLane
from processor.registry import registry_of
from runtime import doors, durability, embedded, keyring, layout, lifecycle, settings
from runtime.connection import Client, Wire, connect, shown
from runtime.errors import StartupError
from runtime.keyring import SenderSeal
from runtime.leases import Lease, Leases
from runtime.settings import Settings
from runtime.telemetry import Log, start_logging

HOUSEKEEPING_S: Final = 60.0
PACE_S: Final = 0.0008
"""Times the partitions held: the least time between small batches of one, some 1,250 calls a second a worker."""
BATCHES_AT_ONCE: Final = 4
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
    try:
        policy = load_policy(Path(current.policy_file)) if current.policy_file else load_policy()
    except PolicyError as error:
        raise StartupError(str(error)) from None
    route = layout.route(current)
    personal = keyring.load(current)
    registry = registry_of(current, accepts=policy.documents.accepts)
    seal = SenderSeal(personal)
    async with aclosing(connect(url)) as client:
        partitions = await _checked(client, current, route, url)
        turns = asyncio.Semaphore(BATCHES_AT_ONCE)

        def new_lane(lease: Lease) -> DecideLane:
            preparer = Preparer(
                index=lease.index, keys=lease.keys, route=route, policy=policy, script=current.script, seal=seal
            )
            return DecideLane(
                lease,
                preparer=preparer,
                wire=Wire(url),
                partitions=partitions,
                turns=turns,
                batch=current.batch,
                pace_s=lambda: len(leases.held) * PACE_S,
                wall_ms=lambda: time.time_ns() // 1_000_000,
            )

        leases = Leases(Wire(url), role="decide", partitions=partitions, lease_ms=current.lease_ms, new_lane=new_lane)
        worker = _Worker(client, partitions, leases, current)
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
            keeping = asyncio.create_task(worker.keep_house())
            await leases.run(stop, until_done=worker.drained)
            keeping.cancel()
    return 0


async def _checked(client: Client, current: Settings, route: Route, url: str) -> list[PartitionKeys]:
    """The partitions of a store that is fit for work; StartupError where it is not."""
    try:
        await durability.check(client, current)
        partitions = await layout.settle(client, route)
        await ensure_loaded(client)
        await make_groups(client, partitions)
    except LibraryDiffersError as error:
        raise StartupError(str(error)) from None
    except (RedisError, OSError) as error:
        raise StartupError(f"store {shown(url)}: {error}") from None
    return partitions


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

    def __init__(self, client: Client, partitions: list[PartitionKeys], leases: Leases, current: Settings) -> None:
        self._client = client
        self._partitions = partitions
        self._leases = leases
        self._settings = current
        self._log = Log("process")

    async def readiness(self) -> dict[str, Any]:
        """Facts for `/readyz`."""
        try:
            ready = bool(await self._client.execute_command("PING"))
        except (RedisError, OSError):
            ready = False
        return {
            "ready": ready,
            "role": "process",
            "durability": self._settings.durability,
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

    async def keep_house(self) -> None:
        """Trim by age what has no reader to wait for: the audit trails and the dead letters."""
        while True:
            now_ms = time.time_ns() // 1_000_000
            try:
                for index in self._leases.held:
                    keys = self._partitions[index]
                    for stream, days in (
                        (keys.audit, self._settings.audit_days),
                        (keys.acts, self._settings.audit_days),
                        (keys.dead, self._settings.dead_days),
                    ):
                        oldest = now_ms - days * 86_400_000
                        await self._client.execute_command("XTRIM", stream, "MINID", "=", oldest)
            except (RedisError, OSError) as error:
                self._log.warning("housekeeping put off", error=type(error).__name__)
            await asyncio.sleep(HOUSEKEEPING_S)
