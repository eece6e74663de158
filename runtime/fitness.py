"""Whether a store is fit for a role: the check that every role makes at its start, before anything else.

Reads what `durability` and `layout` need; writes `layout` at a store's first start, and what the role prepares.
"""

from collections.abc import Awaitable, Callable

from redis.exceptions import NoPermissionError, RedisError

from lua.keys import PartitionKeys
from lua.library import LibraryDiffersError, ensure_loaded
from lua.store import Store, primaries
from permits.partition import Route
from runtime import durability, layout
from runtime.connection import Client, shown
from runtime.errors import StartupError
from runtime.settings import Settings
from runtime.telemetry import DURABILITY

Preparation = Callable[[Client, list[PartitionKeys]], Awaitable[None]]
"""Something that a role needs in its store before it can work."""


async def settled(
    client: Client, settings: Settings, route: Route, url: str, *preparations: Preparation
) -> list[PartitionKeys]:
    """The keys of every partition, from a store that is fit and prepared; StartupError where it is not."""
    try:
        await durability.check(client, settings)
        DURABILITY.info({name: str(value) for name, value in settings.promise.items()})
        partitions = await layout.settle(client, route)
        for prepare in preparations:
            await prepare(client, partitions)
    except LibraryDiffersError as error:
        raise StartupError(str(error)) from None
    except NoPermissionError as error:
        raise StartupError(
            f"store {shown(url)}: {error}; only a worker may prepare an empty store: start a worker "
            "(`icaze process`) first, and compare the store's users with deploy/acl/users.acl"
        ) from None
    except (RedisError, OSError) as error:
        hint = "; ICAZE_REDIS_CA_FILE names who signed it" if "certificate verify failed" in str(error) else ""
        raise StartupError(f"store {shown(url)}: {error}{hint}") from None
    return partitions


async def load_functions(client: Client, _: list[PartitionKeys]) -> None:
    """The function library in the store, for roles that call it."""
    await ensure_loaded(client)


async def answers(store: Store) -> bool:
    """Whether each server that holds a part of the store serves now."""
    try:
        return all([bool(await server.execute_command("PING")) for server in await primaries(store)])
    except (RedisError, OSError):
        return False
