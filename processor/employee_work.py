"""What a worker does for organisations' employees, beside its lanes: has them confirmed, and carries out imports."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec
from redis.exceptions import RedisError

from lua.keys import PartitionKeys
from permits.partition import Route
from permits.policy import Policy
from processor.application_loop import ApplicationLoop
from processor.import_loop import ImportLoop
from processor.registry.port import Registry
from runtime.connection import shown
from runtime.employment import Employment, Send
from runtime.epochs import Epochs
from runtime.errors import StartupError
from runtime.keyring import Keyring
from runtime.shared import SharedWire
from runtime.topology import wire_to


@asynccontextmanager
async def working(
    url: str,
    *,
    held: Callable[[], Sequence[int]],
    route: Route,
    partitions: Sequence[PartitionKeys],
    personal: Keyring,
    policy: Policy,
    registry: Registry,
) -> AsyncGenerator[None]:
    """Both loops, until the block ends; StartupError where the store is away at the start.

    Each may be cut off anywhere: what it had begun stands in the store, and whoever holds the partition goes on.
    """
    store, asking, importing = SharedWire(wire_to(url)), wire_to(url), wire_to(url)
    epochs = Epochs(asking.execute_command)
    try:
        await epochs.refresh()  # before the first import: a permit names the last epoch that it has seen
    except (RedisError, OSError, msgspec.DecodeError) as error:
        raise StartupError(f"store {shown(url)}: {error}") from None

    def employment(send: Send) -> Employment:
        return Employment(send, route=route, partitions=partitions, keyring=personal, epochs=epochs.known)

    applications = ApplicationLoop(
        store,
        held=held,
        partitions=partitions,
        employment=employment(store.send),
        registry=registry,
        wall_ms=_wall_ms,
    )
    imports = ImportLoop(
        importing,
        held=lambda: [partitions[index] for index in held()],
        employment=employment(lambda commands: importing.call(*commands)),
        keyring=personal,
        accepts=policy.documents.accepts,
        wall_ms=_wall_ms,
    )
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in (epochs.follow(), applications.run(), imports.run())]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
    finally:
        await store.close()
        await asking.close()
        await registry.close()


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
