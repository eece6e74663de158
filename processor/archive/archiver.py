"""Moves the trails of the partitions that a worker holds into segments, and lets go of what is safely there.

Reads `audit:{p}` and `acts:{p}` beyond the head of their chains; appends to segments, synced to disk; then moves the
heads in `archive:{p}`. Whatever fails between leaves a tail that no head names: its entries still stand in the store,
and are written again in a segment of its own.
"""

import asyncio
import os
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
from redis.exceptions import RedisError, ResponseError

from lua import archives
from lua.archives import Head, Trail
from lua.calls import id_after, mark_command
from lua.keys import PartitionKeys
from lua.store import Store
from permits.calendar import DAY_MS
from processor.archive import segments
from runtime.connection import Wire
from runtime.leases import Lease
from runtime.telemetry import ARCHIVE_FAILURES, ARCHIVED, Log

ROUND_S: Final = 60.0
"""Each trail is visited once in so long: what is younger is not yet protected by the chain."""
FIRST_S: Final = 1.0
"""A worker that starts has no partition yet: it looks again so soon."""
PAGE: Final = 16
"""Entries read at once: with 512 decisions each, a megabyte or two that the store hands over in one piece."""
MEMBER_BYTES: Final = 4 << 20
"""Lines after which a member ends."""
SEGMENT_BYTES: Final = 64 << 20
"""Size after which a segment ends; it also ends with its day, in UTC."""

Entry = tuple[bytes, list[bytes]]


class _Chain(msgspec.Struct):
    """The chain of one trail as we go on with it, under one epoch."""

    epoch: str
    standing: bytes
    head: Head | None
    skipped: int
    segment: Path | None = None
    """None: the next member begins one. A segment is only ever written under the epoch that began it."""
    size: int = 0

    @property
    def last(self) -> str:
        """Id of the last archived entry."""
        return "0-0" if self.head is None else self.head.last


class Archiver:
    """Archives the trails of the partitions whose leases are ours."""

    def __init__(self, wire: Wire, *, folder: Path, leases: Callable[[], Sequence[Lease]], replicas: int = 0) -> None:
        self._wire = wire
        self._folder = folder
        self._leases = leases
        self._replicas = replicas
        self._chains: dict[tuple[int, Trail], _Chain] = {}
        self._log = Log("process")

    async def run(self) -> None:
        """One round after another, until cancelled."""
        try:
            while True:
                began_s = time.monotonic()
                round_s = ROUND_S if self._leases() else FIRST_S
                await self.round(pace_s=round_s)
                await asyncio.sleep(max(0.0, began_s + round_s - time.monotonic()))
        finally:
            await self._wire.close()

    async def round(self, *, pace_s: float = 0.0) -> None:
        """Every trail that is ours, spread over a time; ended by the first fault, which the next round meets again."""
        leases = list(self._leases())
        self._chains = {key: chain for key, chain in self._chains.items() if key[0] in {one.index for one in leases}}
        random.shuffle(leases)  # so that one trail's fault keeps no other from its turn for ever
        for lease in leases:
            for trail, stream in trails(lease.keys):
                try:
                    await self._visit(lease, trail, stream)
                except Exception as error:  # noqa: BLE001  # a worker decides on, whatever befalls its archive
                    self._chains.pop((lease.index, trail), None)
                    self._put_off(error, stream)
                    return
                await asyncio.sleep(pace_s / len(leases) / 2)

    def _put_off(self, error: Exception, stream: str) -> None:
        ARCHIVE_FAILURES.labels(type(error).__name__).inc()
        if isinstance(error, RedisError | OSError):
            self._log.warning("archiving put off", stream=stream, error=type(error).__name__, reason=str(error))
        else:
            self._log.error("archiving failed", cause=error, stream=stream)

    async def _visit(self, lease: Lease, trail: Trail, stream: str) -> None:
        """All that stands beyond the head, as one member or more; never more than half of the time at work."""
        while lease.surely_ours:
            began_s = time.monotonic()
            chain = self._chains.get((lease.index, trail))
            if chain is None or chain.epoch != lease.epoch:
                chain = self._chains[lease.index, trail] = await self._opened(lease, trail, stream)
            entries, is_more = await self._unarchived(stream, chain.last)
            if not entries:
                return
            if self._replicas:  # a segment must not tell what a promoted replica has never heard of
                (marked,) = await self._wire.call(mark_command(lease.keys.mark), replicas=self._replicas)
                if isinstance(marked, ResponseError):
                    raise marked
            said = await self._archive(lease, trail, chain, entries)
            if said != "moved":
                del self._chains[lease.index, trail]
                self._log.warning("archive goes on elsewhere", stream=stream, said=said)
                return
            ARCHIVED.labels(trail).inc(len(entries))
            if not is_more:
                return
            await asyncio.sleep(time.monotonic() - began_s)

    async def _opened(self, lease: Lease, trail: Trail, stream: str) -> _Chain:
        standing = await archives.standing(self._wire, lease.keys, trail)
        head = archives.read(standing)
        if head is not None:
            return _Chain(lease.epoch, standing, head, head.skipped)
        past = await life(self._wire, stream)
        return _Chain(lease.epoch, standing, None, past.added - past.length)

    async def _unarchived(self, stream: str, last: str) -> tuple[list[Entry], bool]:
        """(entries for one member, whether there are more)."""
        found: list[Entry] = []
        size = 0
        while size < MEMBER_BYTES:
            page: list[Entry] = await self._wire.execute_command("XRANGE", stream, f"({last}", "+", "COUNT", PAGE)
            found += page
            if len(page) < PAGE:
                return found, False
            last = page[-1][0].decode()
            size += sum(len(part) for _, fields in page for part in fields)
        return found, True

    async def _archive(self, lease: Lease, trail: Trail, chain: _Chain, entries: Sequence[Entry]) -> archives.Moved:
        """One member on disk, then the head on it."""
        first, last = entries[0][0].decode(), entries[-1][0].decode()
        if chain.segment is None or chain.size >= SEGMENT_BYTES or _day(first) != _day(chain.segment.name):
            name = segments.segment_name(first, lease.epoch)
            chain.segment, chain.size = self._folder / lease.keys.tag / trail / name, 0
        before = chain.head
        number = 1 if before is None else before.number + 1
        previous = segments.origin(lease.keys.tag, trail) if before is None else bytes.fromhex(before.hash)
        size, digest = await asyncio.to_thread(_written, chain.segment, chain.size, number, previous, entries)
        head = Head(
            last=last,
            segment=chain.segment.name,
            number=number,
            entries=len(entries) + (0 if before is None else before.entries),
            skipped=chain.skipped,
            hash=digest.hex(),
        )
        standing = msgspec.json.encode(head)
        said = await archives.archived(
            self._wire, lease.keys, epoch=lease.epoch, trail=trail, standing=chain.standing, head=standing
        )
        if said == "moved":
            chain.standing, chain.head, chain.size = standing, head, chain.size + size
        return said


def _written(path: Path, at: int, number: int, previous: bytes, entries: Sequence[Entry]) -> tuple[int, bytes]:
    """(bytes, hash) of a member that is now on disk."""
    lines = [segments.entry_line(entry_id, fields) for entry_id, fields in entries]
    data, digest = segments.member(number, previous, lines)
    append(path, at, data)
    return len(data), digest


def append(path: Path, at: int, data: bytes) -> None:
    """Write at the end of a segment, at 0 a new one; on return it is on disk. OSError leaves nothing behind."""
    if at == 0:
        path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb" if at == 0 else "r+b") as file:
        if file.seek(0, os.SEEK_END) != at:
            raise OSError(f"{path} is not as long as we left it")
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                os.ftruncate(file.fileno(), at)
            raise
    if at == 0:
        for folder in path.parents[:4]:  # trail, partition, archive, and what holds the archive
            _sync(folder)


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _day(entry_id: str) -> int:
    """The day of an entry, or of the first in a segment's name."""
    return int(entry_id.partition("-")[0]) // DAY_MS


def trails(keys: PartitionKeys) -> tuple[tuple[Trail, str], ...]:
    """What is archived of a partition: (trail, stream)."""
    return ("audit", keys.audit), ("acts", keys.acts)


class Life(msgspec.Struct, frozen=True):
    """What a stream has been through."""

    added: int = 0
    """Entries in its whole life."""
    length: int = 0
    last: str = "0-0"
    """Id of the last that was added."""


async def life(store: Store, stream: str) -> Life:
    """What a stream has been through; nothing where it never stood."""
    try:
        info: list[Any] = await store.execute_command("XINFO", "STREAM", stream)
    except ResponseError as error:
        if "no such key" in str(error):
            return Life()
        raise
    facts = dict(zip(info[::2], info[1::2], strict=True))
    return Life(facts[b"entries-added"], facts[b"length"], facts[b"last-generated-id"].decode())


async def trim(store: Store, keys: PartitionKeys, *, before_ms: int) -> None:
    """Remove what is older from the trails in the store, never an entry beyond the head of its chain."""
    for trail, stream in trails(keys):
        head = archives.read(await archives.standing(store, keys, trail))
        if head is not None:
            beyond = id_after(head.last.encode()).decode()
            lowest = min(f"{before_ms}-0", beyond, key=segments.entry_id)
            await store.execute_command("XTRIM", stream, "MINID", "=", lowest)
