"""Whether the store really gives the level of durability that the settings promise; checked before a role starts."""

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from redis.exceptions import ResponseError

from lua.store import Store, primaries, servers
from runtime.connection import STORE_ERRORS
from runtime.errors import StartupError
from runtime.settings import Settings

ASKED: Final = (
    *("appendonly", "appendfsync", "no-appendfsync-on-rewrite"),
    *("maxmemory-policy", "maxmemory", "min-replicas-to-write", "min-replicas-max-lag"),
)
FLOORS: Final = {"redis": (7, 0), "valkey": (8, 0)}


async def check(store: Store, settings: Settings) -> None:
    """StartupError where a server is too old, may evict, or does not sync as the level needs.

    Replicas too, as one may be the next primary; one that does not answer keeps no role from starting.
    """
    holding = await primaries(store)
    for server in holding:
        config = await _check(server, settings)
        if settings.awaited:
            least = int(config["min-replicas-to-write"]) if config["min-replicas-max-lag"] != "0" else 0
            await check_replicas(server, settings.awaited, least)
    for replica in (await servers(store))[len(holding) :]:
        with suppress(*STORE_ERRORS):
            await _check(replica, settings)


async def _check(store: Store, settings: Settings) -> dict[str, str]:
    """One server by itself; its configuration."""
    info: dict[str, Any] = await store.execute_command("INFO", "server")
    name = "valkey" if "valkey_version" in info else "redis"
    version = str(info.get(f"{name}_version", "0"))
    check_version(name, version)
    try:
        config: dict[str, str] = await store.execute_command("CONFIG GET", *ASKED)
    except ResponseError as error:
        raise StartupError(f"the store does not show its settings (CONFIG GET: {error}); allow config|get") from None
    if config["maxmemory"] != "0" and config["maxmemory-policy"] != "noeviction":
        raise StartupError(
            f"the store evicts keys (maxmemory-policy {config['maxmemory-policy']}): set it to noeviction"
        )
    if settings.durability == "memory":
        return config
    level = f"ICAZE_DURABILITY={settings.durability}"
    if (config["appendonly"], config["appendfsync"]) != ("yes", "always"):
        raise StartupError(
            f"{level} needs a store with appendonly yes and appendfsync always; this one has "
            f"appendonly {config['appendonly']} and appendfsync {config['appendfsync']}"
        )
    if config["no-appendfsync-on-rewrite"] != "no":
        raise StartupError(f"{level} needs no-appendfsync-on-rewrite no: else a rewrite stops the syncs")
    return config


async def check_replicas(store: Store, wanted: int, least: int) -> None:
    """StartupError where a server is no primary, has too few replicas, or would go on writing without them."""
    level = f"ICAZE_DURABILITY=replicated with ICAZE_REPLICAS={wanted}"
    info: dict[str, Any] = await store.execute_command("INFO", "replication")
    if info["role"] != "master":
        raise StartupError(f"{level} needs a primary; this server is a replica of {info.get('master_host')}")
    online = online_replicas(info)
    if online < wanted:
        raise StartupError(f"{level}: {online} online at this server; attach replicas (REPLICAOF), or wait for them")
    if least < wanted:
        raise StartupError(
            f"{level} needs min-replicas-to-write {wanted} or more, this server has {least}: "
            f"CONFIG SET min-replicas-to-write {wanted}, and in its configuration file"
        )


def online_replicas(info: Mapping[str, Any]) -> int:
    """Replicas of an INFO replication that take part."""
    return sum(replica["state"] == "online" for replica in replicas_of(info))


def replicas_of(info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The replicas of an INFO replication: `ip`, `port`, `state`, `offset`, `lag` of each."""
    return [value for name, value in info.items() if re.fullmatch(r"slave\d+", name) and isinstance(value, dict)]


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
