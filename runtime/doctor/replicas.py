"""Whether the replicas are there, in step, and needed: what INFO says, how long a WAIT takes, what each says itself."""

import time
from contextlib import aclosing
from typing import Any, Final

import msgspec
from redis.exceptions import RedisError, ResponseError

from lua.store import Store, primaries, servers
from runtime.connection import WAIT_S, Wire, wait_command
from runtime.doctor import disk, facts, hints
from runtime.doctor.facts import KEY_S, Facts
from runtime.doctor.finding import Finding, Level, ms
from runtime.durability import replicas_of
from runtime.topology import client_to

MOST_LAG_S: Final = 2
"""Replicas tell where they are once a second."""
MOST_BEHIND: Final = 1 << 20
"""Bytes: above, a replica does not follow at the speed of the writes."""


def of_info(known: Facts, level: Level, wanted: int) -> list[Finding]:
    """Who is there and how far; at levels below, what there is is looked at, and nothing is missed."""
    found: list[Finding] = []
    if known.info.get("role") != "master":
        return [
            Finding("role", "unsafe", str(known.info.get("role")), "a primary", "point ICAZE_REDIS_URL at the primary")
        ]
    replicas = replicas_of(known.info)
    online = [one for one in replicas if one["state"] == "online"]
    asked = wanted if level == "replicated" else 0
    seen = f"{len(online)} online of {len(replicas)}"
    if len(online) < asked:
        change = "attach replicas (REPLICAOF) and wait until they are online"
        found.append(Finding("replicas", "unsafe", seen, f"{asked} or more", change))
    elif asked and len(online) > asked:  # an acknowledgement needs any of them, a failover takes one of them
        change = f"ICAZE_REPLICAS={len(online)}: else one may be promoted that lacks what others have acknowledged"
        found.append(Finding("replicas", "warn", seen, f"{asked}, as ICAZE_REPLICAS says", change))
    else:
        found.append(Finding("replicas", "ok", seen, f"{asked} or more"))
    offset = int(known.info.get("master_repl_offset", 0))
    for one in online:
        behind, lag_s = offset - int(one["offset"]), int(one["lag"])
        if behind > MOST_BEHIND or lag_s > MOST_LAG_S:
            seen = f"{one['ip']}:{one['port']} {behind:,} bytes and {lag_s} s behind"
            change = "look at its network and disk, or detach it"
            found.append(Finding("lag", "warn", seen, f"at most {MOST_BEHIND:,} bytes and {MOST_LAG_S} s", change))
    if level == "replicated" and known.config:
        least, patience = (int(known.config[name]) for name in ("min-replicas-to-write", "min-replicas-max-lag"))
        good = least >= wanted and patience > 0
        change = "" if good else f"CONFIG SET min-replicas-to-write {wanted} and min-replicas-max-lag 10"
        seen = f"{least}, by replicas that were heard of within {patience} s"
        found.append(Finding("min-replicas-to-write", "ok" if good else "unsafe", seen, f"{wanted} or more", change))
    return found


class Waited(msgspec.Struct, frozen=True):
    """A write, and how many replicas had it after how long."""

    counted: int
    took_s: float
    refused: str = ""
    """Why there was no answer; empty where there was."""


async def waited(wire: Wire, known: Facts, wanted: int) -> Waited:
    """Try it, at a primary with replicas."""
    if known.info.get("role") != "master" or not replicas_of(known.info):
        return Waited(0, 0.0)
    began = time.perf_counter()
    replies = await wire.call(["SET", known.key, "", "EX", KEY_S], wait_command(wanted))
    refused = next((str(reply) for reply in replies if isinstance(reply, ResponseError)), "")
    return Waited(0 if refused else replies[1], time.perf_counter() - began, refused)


def of_wait(found: Waited, level: Level, wanted: int) -> list[Finding]:
    """Whether the replicas answer."""
    if level != "replicated":
        return []
    if found.refused:
        change = f"find out why: {found.refused[:80]}"
        return [Finding("WAIT", "unsafe", "refused", f"{wanted} replicas", change)]
    good = found.counted >= wanted
    change = "" if good else "mend the replicas or the way to them: ingest answers 503 and nothing is sent meanwhile"
    seen = f"{found.counted} replicas in {ms(found.took_s)}"
    return [Finding("WAIT", "ok" if good else "unsafe", seen, f"{wanted} replicas within {ms(WAIT_S)}", change)]


async def others(url: str) -> dict[str, Facts | str]:
    """What each replica behind a store's URL says, by its `host:port`, or why it does not; raises as the store does.

    The same that the roles look at as they start.
    """
    async with aclosing(client_to(url)) as store:
        found = (await servers(store))[len(await primaries(store)) :]
        return {_host(replica): await _said(replica) for replica in found}


def of_other(seen: Facts | str, level: Level) -> list[Finding]:
    """Whether a replica could be the primary: what the roles refuse, and a warning where it cannot be asked."""
    if isinstance(seen, str):
        change = "find out why: it may be the next primary, and nobody knows how it is configured"
        return [Finding("replica", "warn", seen, "an answer", change)]
    return [facts.of_version(seen), facts.of_rights(seen), *hints.of_memory(seen), *disk.of_settings(seen, level)]


def _host(replica: Any) -> str:
    where: dict[str, Any] = replica.connection_pool.connection_kwargs
    return f"{where['host']}:{where['port']}"


async def _said(replica: Store) -> Facts | str:
    try:
        return await facts.read(replica, facts.KEY)
    except (RedisError, OSError) as error:
        return str(error)[:80]
