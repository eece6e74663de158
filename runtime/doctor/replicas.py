"""Whether the replicas are there, in step, and needed: what INFO says, and how long a WAIT takes."""

import time
from typing import Final

import msgspec
from redis.exceptions import ResponseError

from runtime.connection import WAIT_S, Wire, wait_command
from runtime.doctor.facts import KEY_S, Facts
from runtime.doctor.finding import Finding, Level, ms
from runtime.durability import replicas_of

MOST_LAG_S: Final = 2
"""Replicas tell where they are once a second."""
MOST_BEHIND: Final = 1 << 20
"""Bytes: above, a replica does not follow at the speed of the writes."""


def of_info(facts: Facts, level: Level, wanted: int) -> list[Finding]:
    """Who is there and how far; at levels below, what there is is looked at, and nothing is missed."""
    found: list[Finding] = []
    if facts.info.get("role") != "master":
        return [
            Finding("role", "unsafe", str(facts.info.get("role")), "a primary", "point ICAZE_REDIS_URL at the primary")
        ]
    replicas = replicas_of(facts.info)
    online = [one for one in replicas if one["state"] == "online"]
    asked = wanted if level == "replicated" else 0
    bad = len(online) < asked
    found.append(
        Finding(
            "replicas",
            "unsafe" if bad else "ok",
            f"{len(online)} online of {len(replicas)}",
            f"{asked} or more",
            "attach replicas (REPLICAOF) and wait until they are online" if bad else "",
        )
    )
    offset = int(facts.info.get("master_repl_offset", 0))
    for one in online:
        behind, lag_s = offset - int(one["offset"]), int(one["lag"])
        if behind > MOST_BEHIND or lag_s > MOST_LAG_S:
            seen = f"{one['ip']}:{one['port']} {behind:,} bytes and {lag_s} s behind"
            change = "look at its network and disk, or detach it"
            found.append(Finding("lag", "warn", seen, f"at most {MOST_BEHIND:,} bytes and {MOST_LAG_S} s", change))
    if level == "replicated" and facts.config:
        least, patience = (int(facts.config[name]) for name in ("min-replicas-to-write", "min-replicas-max-lag"))
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


async def waited(wire: Wire, facts: Facts, wanted: int) -> Waited:
    """Try it, at a primary with replicas."""
    if facts.info.get("role") != "master" or not replicas_of(facts.info):
        return Waited(0, 0.0)
    began = time.perf_counter()
    replies = await wire.call(["SET", facts.key, "", "EX", KEY_S], wait_command(wanted))
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
