"""Whether an acknowledged write is on the disk: what the server is told to do, and how long its writes really take.

Writes one key that ends by itself. Without tracing the server nobody can see a sync: the proof rests on its settings,
and where the disk is ours to try, on the time of a sync of our own; what the server counts itself is told beside.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import msgspec
from redis.exceptions import ResponseError

from lua.store import Store
from runtime.doctor.facts import KEY_S, Facts
from runtime.doctor.finding import Finding, Level, ms, needed

WRITES: Final = 30
HONEST_PART: Final = 1 / 3
"""A write that takes less of what a sync of the same disk takes was hardly synced."""
QUICKEST_SYNC_S: Final = 30e-6
"""A disk that syncs faster is memory: nothing can be told by time."""
WAITS: Final = 3
"""Under `everysec`, so many honest WAITAOF in a row need a sync each, so two seconds at least."""
SYNC_EVERY_S: Final = 1.0
WAITAOF_MS: Final = 3000


def of_settings(facts: Facts, level: Level) -> list[Finding]:
    """What the server is told to do."""
    if not facts.config:
        return []
    config, bad = facts.config, needed(level, "fsync")
    found: list[Finding] = []
    for name, wanted in (("appendonly", "yes"), ("appendfsync", "always"), ("no-appendfsync-on-rewrite", "no")):
        seen = config[name]
        change = "" if seen == wanted else f"CONFIG SET {name} {wanted}, and in the configuration file"
        found.append(Finding(name, "ok" if seen == wanted else bad, seen, wanted, change))
    status = str(facts.info.get("aof_last_write_status", "ok"))
    if status != "ok":
        found.append(Finding("append-only file", bad, f"last write {status}", "ok", "look at the disk and its space"))
    return found


class Measured(msgspec.Struct, frozen=True):
    """Seconds, each the quickest of some: a busy machine must accuse nobody, and excuse nobody."""

    write_s: float
    answer_s: float
    """Of a command that writes nothing."""
    own_s: float | None
    """What the append-only file takes a write on average, by the server's own clock; None where it does not tell."""
    disk_s: float | None
    """The quickest sync of ours in the server's folder; None where that is not ours to write."""
    waitaof_s: float | None
    """WAITS writes in a row together, each waited for by WAITAOF; None where that does not matter or is not there."""


async def measured(store: Store, facts: Facts) -> Measured:
    """Try it; ResponseError where the store takes no write."""

    async def timed(*command: Any) -> float:
        began = time.perf_counter()
        await store.execute_command(*command)
        return time.perf_counter() - began

    answers = [await timed("PING") for _ in range(WRITES)]
    before = await _aof_us(store)
    writes = [await timed("SET", facts.key, "", "EX", KEY_S) for _ in range(WRITES)]
    after = await _aof_us(store)
    return Measured(
        min(writes),
        min(answers),
        None if before is None or after is None else (after - before) / WRITES / 1e6,
        _sync_s(facts.config.get("dir", "")),
        await _waitaof_s(store, facts),
    )


def of_writes(found: Measured, level: Level) -> Finding:
    """How long a write takes, against a sync of the same disk where we can reach it."""
    bad = needed(level, "fsync")
    told = f"a write {ms(found.write_s)}, an answer alone {ms(found.answer_s)}"
    if found.own_s is not None:
        told += f", the append-only file by the server's own clock {ms(found.own_s)}"
    if found.disk_s is None:
        return Finding("sync", "ok", f"{told}; its disk is not ours to try", "rests on the settings alone")
    told += f"; a sync of its disk {ms(found.disk_s)}"
    if found.disk_s < QUICKEST_SYNC_S:
        return Finding(
            "sync", "warn", told, "a disk", "put the append-only file on a disk: this one is memory, or lies"
        )
    wanted = f"{ms(found.disk_s * HONEST_PART)} or more for the sync"
    if found.write_s - found.answer_s < found.disk_s * HONEST_PART:
        change = "appendonly yes and appendfsync always: writes are answered before they are synced"
        return Finding("sync", bad, told, wanted, change)
    return Finding("sync", "ok", told, wanted)


def of_waitaof(found: Measured, level: Level) -> list[Finding]:
    """Whether WAITAOF can be believed where nothing else syncs."""
    if found.waitaof_s is None:
        return []
    seen = f"{WAITS} answers in {ms(found.waitaof_s)} under appendfsync everysec"
    if found.waitaof_s >= SYNC_EVERY_S:
        return [Finding("WAITAOF", "ok", seen, "one a second")]
    change = "appendfsync always: this server's WAITAOF answers before any sync and proves nothing"
    return [Finding("WAITAOF", needed(level, "fsync"), seen, "one a second", change)]


async def _aof_us(store: Store) -> int | None:
    """Microseconds that the append-only file has taken since the server's start; None where it does not tell."""
    try:
        info = await store.execute_command("INFO", "debug")
    except ResponseError:
        return None
    told = info.get("eventloop_duration_aof_sum")
    return None if told is None else int(told)


def _sync_s(folder: str) -> float | None:
    """Seconds of the quickest sync in the folder; None where it is not ours to write."""
    if not folder or not os.access(folder, os.W_OK) or not (Path(folder) / "appendonlydir").is_dir():
        return None
    times: list[float] = []
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            for _ in range(WRITES):
                file.write(b"x" * 64)
                file.flush()
                began = time.perf_counter()
                os.fdatasync(file.fileno())
                times.append(time.perf_counter() - began)
    except OSError:
        return None
    return min(times)


async def _waitaof_s(store: Store, facts: Facts) -> float | None:
    if facts.config.get("appendonly") != "yes" or facts.config.get("appendfsync") != "everysec":
        return None
    began = time.perf_counter()
    try:
        for _ in range(WAITS):
            await store.execute_command("SET", facts.key, "", "EX", KEY_S)
            await store.execute_command("WAITAOF", 1, 0, WAITAOF_MS)
    except ResponseError:  # not there before 7.2
        return None
    return time.perf_counter() - began
