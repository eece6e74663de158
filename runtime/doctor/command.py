"""`icaze doctor`: looks at the connected store, says which level it gives and what to change.

Writes one key that ends by itself.
"""

import argparse
from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace
from redis.exceptions import RedisError, ResponseError

from lua.keys import SLOTS
from lua.store import Store
from runtime import embedded, lifecycle, settings
from runtime.address import parts_of, store_address
from runtime.connection import Wire, shown
from runtime.doctor import clock, disk, facts, hints, replicas
from runtime.doctor.clock import Clocks
from runtime.doctor.facts import Facts
from runtime.doctor.finding import LEVELS, Finding, Level, worst
from runtime.errors import StartupError
from runtime.slots import SlotMap, slot_of
from runtime.topology import client_to, wire_to

_MARKS: Final = {"ok": "ok    ", "warn": "warn  ", "unsafe": "UNSAFE"}
LOCAL: Final = ("localhost", "127.0.0.1", "::1")


class Diagnosis(msgspec.Struct, frozen=True):
    """What was found at a store."""

    store: str
    configured: Level
    gives: Level | None
    """The highest level that nothing speaks against; None: not even `memory`."""
    safe: bool
    findings: list[Finding]


def configure(parser: argparse.ArgumentParser) -> None:
    """Looks at the store of the ICAZE_* settings."""
    parser.description = "Exit code 1 where something is unsafe at the level of ICAZE_DURABILITY."
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """0; 1 where something is unsafe for the configured level, or the store is away."""
    return lifecycle.run(lambda _: _run(arguments))


async def _run(arguments: argparse.Namespace) -> int:
    current = settings.load()
    url = current.redis_url or embedded.url(current.data)
    found = await diagnosed(url, current.durability, current.replicas)
    print(msgspec.json.encode(found).decode() if arguments.json else told(found))
    return 0 if found.safe else 1


async def diagnosed(url: str, level: Level, wanted: int, clocks: Clocks | None = None) -> Diagnosis:
    """Everything looked at, once, and judged, at each primary and replica; StartupError where the store is away."""
    address = store_address(url)
    if address.kind == "cluster":
        slots = SlotMap(address)
        try:
            await slots.read()
        except (RedisError, OSError) as error:
            raise StartupError(f"store {shown(url)}: {error}") from None
        each = {
            f"{host} ": await _diagnosed(address.of(host), _key_of(slots, host), level, wanted, clocks)
            for host in slots.primaries
        }
    else:
        each = {"": await _diagnosed(url, facts.KEY, level, wanted, clocks)}
    try:
        standing_by = await replicas.others(url)
    except (RedisError, OSError) as error:
        raise StartupError(f"store {shown(url)}: {error}") from None
    for host, seen in standing_by.items():
        each[f"{host} "] = _concluded(host, level, partial(replicas.of_other, seen))
    given = [found.gives for found in each.values()]
    return Diagnosis(
        shown(url),
        level,
        None if None in given else next(one for one in LEVELS if one in given),
        all(found.safe for found in each.values()),
        [replace(one, name=f"{host}{one.name}") for host, found in each.items() for one in found.findings],
    )


def _key_of(slots: SlotMap, host: str) -> str:
    """A key that this node owns."""
    names = (f"mark:{{doctor{number}}}" for number in range(SLOTS))
    return next(name for name in names if slots.owner(slot_of(name)) == host)


async def _diagnosed(url: str, key: str, level: Level, wanted: int, clocks: Clocks | None) -> Diagnosis:
    """One server."""
    wire = wire_to(url)
    try:
        async with aclosing(client_to(url)) as store:
            seen = await _seen(store, wire, url, key, wanted, clocks or Clocks(_clock_of(store)))
    except (RedisError, OSError) as error:
        raise StartupError(f"store {shown(url)}: {error}") from None
    finally:
        await wire.close()
    return _concluded(shown(url), level, lambda one: _judged(seen, one, wanted))


def _concluded(store: str, level: Level, judged: Callable[[Level], list[Finding]]) -> Diagnosis:
    """Of one server; what only a higher level needs speaks against none below."""
    gives: Level | None = next((one for one in reversed(LEVELS) if worst(judged(one)) != "unsafe"), None)
    found = judged(level)
    return Diagnosis(store, level, gives, worst(found) != "unsafe", found)


class _Seen(msgspec.Struct, frozen=True):
    """What every level is judged by."""

    facts: Facts
    measured: disk.Measured | str
    """Or why nothing could be written."""
    waited: replicas.Waited
    samples: list[clock.Sample]
    is_ours: bool


async def _seen(store: Store, wire: Wire, url: str, key: str, wanted: int, clocks: Clocks) -> _Seen:
    known = await facts.read(store, key)
    try:
        measured: disk.Measured | str = await disk.measured(store, known)
    except ResponseError as error:
        measured = str(error)
    return _Seen(
        known,
        measured,
        await replicas.waited(wire, known, wanted),
        [] if "time" in known.denied else await clock.sampled(clocks),
        _is_ours(url, known),
    )


def _judged(seen: _Seen, level: Level, wanted: int) -> list[Finding]:
    known, measured = seen.facts, seen.measured
    found = [facts.of_version(known), facts.of_rights(known), facts.of_library(known)]
    found += hints.of_memory(known) + disk.of_settings(known, level)
    if isinstance(measured, str):
        change = f"find out why the store takes no write: {measured[:80]}"
        found.append(Finding("write", "unsafe", "refused", "a key of our own", change))
    else:
        found += [disk.of_writes(measured, level), *disk.of_waitaof(measured, level)]
    found += replicas.of_info(known, level, wanted) + replicas.of_wait(seen.waited, level, wanted)
    if seen.samples:
        found += clock.of_samples(seen.samples)
    return found + hints.of_room(known) + hints.of_machine(is_ours=seen.is_ours)


def _is_ours(url: str, known: Facts) -> bool:
    """Whether the store runs on this machine."""
    return url.startswith("unix://") or (
        urlsplit(f"//{parts_of(url)[1].partition(',')[0]}").hostname in LOCAL
        and Path(known.config.get("dir", "/nowhere")).is_dir()
    )


def told(found: Diagnosis) -> str:
    """A diagnosis as a person reads it."""
    width = max(len(finding.name) for finding in found.findings)
    lines: list[str] = []
    for finding in found.findings:
        lines.append(f"{_MARKS[finding.severity]}  {finding.name:<{width}}  {finding.seen}")
        if finding.severity != "ok":
            lines.append(f"{'':{width + 10}}wanted: {finding.wanted}; {finding.change}")
    gives = found.gives or "nothing that can be relied on"
    lines.append(f"{found.store} is configured as {found.configured} and gives {gives}")
    return "\n".join(lines)


def _clock_of(store: Store) -> Any:
    async def now_s() -> float:
        seconds, microseconds = await store.execute_command("TIME")
        return int(seconds) + int(microseconds) / 1e6

    return now_s
