"""Whether the store really gives the level of durability that the settings promise; checked before a role starts."""

import re
from contextlib import suppress
from typing import Any, Final

from redis.exceptions import ResponseError

from lua.store import Store, primaries, servers
from runtime.connection import STORE_ERRORS
from runtime.errors import StartupError
from runtime.settings import Settings

FLOORS: Final = {"redis": (7, 0), "valkey": (8, 0)}


async def check(store: Store, settings: Settings) -> None:
    """StartupError where a server is too old, may evict, or does not sync as the level needs.

    Replicas too, as one may be the next primary; one that does not answer keeps no role from starting.
    """
    holding = await primaries(store)
    for server in holding:
        await _check(server, settings)
    for replica in (await servers(store))[len(holding) :]:
        with suppress(*STORE_ERRORS):
            await _check(replica, settings)


async def _check(store: Store, settings: Settings) -> None:
    info: dict[str, Any] = await store.execute_command("INFO", "server")
    name = "valkey" if "valkey_version" in info else "redis"
    version = str(info.get(f"{name}_version", "0"))
    check_version(name, version)
    try:
        config: dict[str, str] = await store.execute_command(
            "CONFIG GET", "appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory-policy", "maxmemory"
        )
    except ResponseError as error:
        raise StartupError(f"the store does not show its settings (CONFIG GET: {error}); allow config|get") from None
    if config["maxmemory"] != "0" and config["maxmemory-policy"] != "noeviction":
        raise StartupError(
            f"the store evicts keys (maxmemory-policy {config['maxmemory-policy']}): set it to noeviction"
        )
    if settings.durability == "fsync" and (config["appendonly"], config["appendfsync"]) != ("yes", "always"):
        raise StartupError(
            f"ICAZE_DURABILITY=fsync needs a store with appendonly yes and appendfsync always; this one has "
            f"appendonly {config['appendonly']} and appendfsync {config['appendfsync']}"
        )
    if settings.durability == "fsync" and config["no-appendfsync-on-rewrite"] != "no":
        raise StartupError("ICAZE_DURABILITY=fsync needs no-appendfsync-on-rewrite no: else a rewrite stops the syncs")


def check_version(name: str, version: str) -> None:
    """StartupError where a server is older than the floor."""
    floor = FLOORS.get(name)
    if floor is None:
        raise StartupError(f"{name} {version}: the store must be redis 7.0 or valkey 8.0, or later")
    parts = re.match(r"(\d+)(?:\.(\d+))?", version)
    if parts is None or (int(parts[1]), int(parts[2] or 0)) < floor:
        raise StartupError(
            f"{name} {version} is too old: {name} {'.'.join(map(str, floor))} or later is needed (functions)"
        )
