"""Proves the archive: every chain from its first member to the head in the store, and that nothing fell between.

Reads the segments of all folders; of the store `archive:{p}`, `audit:{p}`, `acts:{p}`. Changes nothing.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from lua import archives
from lua.archives import Trail
from lua.keys import PartitionKeys, partition_keys
from lua.store import Store
from processor.archive import segments
from processor.archive.archiver import life, trails
from processor.archive.chain import Chain, Fault, Found, lines_beside, scan, walk

_TRIES: Final = 3
"""The head, the stream and the entries between are read one after another, while all three go on."""
_PAGE: Final = 16


class Proved(msgspec.Struct, frozen=True):
    """One chain."""

    partition: str
    """The partition's tag."""
    trail: Trail
    members: int
    entries: int
    last: str
    """Id of the last entry."""
    hash: str
    """Of the last member, 64 hex digits: whoever keeps it elsewhere can tell later that the chain still holds it."""
    unarchived: int | None
    """Entries in the store that are not archived yet; None: not looked at."""


class Proof(msgspec.Struct, frozen=True):
    """What was proved of an archive, one object for programs."""

    ok: bool
    segments: int
    bytes: int
    members: int
    entries: int
    chains: list[Proved]
    faults: list[Fault]
    notes: list[str]
    """What is unusual and harms nothing."""


class _Part(msgspec.Struct):
    """What one trail adds to the proof."""

    segments: int = 0
    bytes: int = 0
    chain: Proved | None = None
    faults: list[Fault] = msgspec.field(default_factory=list[Fault])
    notes: list[str] = msgspec.field(default_factory=list[str])


async def prove(
    folders: Sequence[Path], *, store: Store | None, tags: Sequence[str], advance: Callable[[int], None]
) -> Proof:
    """Prove all chains; without a store, each to the last member found. `advance` hears of every byte read."""
    parts = [
        await _prove_one(folders, store, partition_keys(tag), trail, stream, advance)
        for tag in sorted({*tags, *segments.tags(folders)})
        for trail, stream in trails(partition_keys(tag))
    ]
    chains = [part.chain for part in parts if part.chain is not None]
    faults = [fault for part in parts for fault in part.faults]
    return Proof(
        ok=not faults,
        segments=sum(part.segments for part in parts),
        bytes=sum(part.bytes for part in parts),
        members=sum(chain.members for chain in chains),
        entries=sum(chain.entries for chain in chains),
        chains=chains,
        faults=faults,
        notes=[note for part in parts for note in part.notes],
    )


async def _prove_one(
    folders: Sequence[Path],
    store: Store | None,
    keys: PartitionKeys,
    trail: Trail,
    stream: str,
    advance: Callable[[int], None],
) -> _Part:
    name, part, found = f"{keys.tag}/{trail}", _Part(), Found()
    try:
        head = None if store is None else archives.read(await archives.standing(store, keys, trail))
    except ValueError as error:
        return _Part(faults=[Fault("changed", keys.archive, str(error))])
    for segment in segments.segments(folders, keys.tag, trail):
        length = scan(found, segment)
        part.segments, part.bytes = part.segments + 1, part.bytes + length
        advance(length)
    if store is not None and head is None:  # nothing is archived yet, as far as the store knows
        chain = Chain([], found.sound, [])
    else:
        chain = walk(found, origin=segments.origin(keys.tag, trail), head=head, name=name)
    part.faults, unarchived = found.faults + chain.faults, None
    if store is not None and not part.faults:
        unarchived, part.faults = await _accounted(store, keys, trail, stream)
    if not part.faults:
        part.faults = await _strange(store, stream, chain)
    part.notes = found.torn
    if chain.beside:
        count = sum(member.entries for member in chain.beside)
        part.notes.append(f"{name}: {count} entries in members beside the chain, written again or not yet named")
    if chain.members:
        part.chain = _proved(keys.tag, trail, chain, unarchived)
    return part


def _proved(tag: str, trail: Trail, chain: Chain, unarchived: int | None) -> Proved:
    last = chain.members[-1]
    return Proved(
        partition=tag,
        trail=trail,
        members=len(chain.members),
        entries=sum(member.entries for member in chain.members),
        last=f"{last.last[0]}-{last.last[1]}",
        hash=last.hash.hex(),
        unarchived=unarchived,
    )


async def _accounted(store: Store, keys: PartitionKeys, trail: Trail, stream: str) -> tuple[int, list[Fault]]:
    """(entries beyond the head, what is wrong): every entry that a stream ever had is archived or stands there."""
    waiting = lost = 0
    for _ in range(_TRIES):
        head = archives.read(await archives.standing(store, keys, trail))
        past = await life(store, stream)
        waiting = await _waiting(store, stream, "0-0" if head is None else head.last, past.last)
        if head is None:
            return waiting, []
        lost = past.added - head.skipped - head.entries - waiting
        if not lost:
            return waiting, []
    if lost > 0:
        says = f"{lost} entries have left the stream and are in no segment"
    else:
        says = f"the archive holds {-lost} entries more than the stream ever had: the store has lost them"
    return waiting, [Fault("gap", stream, says)]


async def _waiting(store: Store, stream: str, after: str, until: str) -> int:
    count = 0
    while True:
        page: list[Any] = await store.execute_command("XRANGE", stream, f"({after}", until, "COUNT", _PAGE)
        count += len(page)
        if len(page) < _PAGE:
            return count
        after = page[-1][0].decode()


async def _strange(store: Store | None, stream: str, chain: Chain) -> list[Fault]:
    """The first entry beside a chain that neither it nor the store knows."""
    end = chain.members[-1].last if chain.members else (0, 0)
    for member, line in lines_beside(chain):
        name = line.partition(b"\t")[0].decode()
        is_new = segments.entry_id(name) > end
        if not is_new or not (store is None or await _stands(store, stream, name, line)):
            where = f"{member.path}, byte {member.at}"
            return [Fault("foreign", where, f"entry {name} is not of this chain: forged, or another store's")]
    return []


async def _stands(store: Store, stream: str, name: str, line: bytes) -> bool:
    found: list[tuple[bytes, Any]] = await store.execute_command("XRANGE", stream, name, name)
    return any(segments.entry_line(entry_id, _flat(fields)) == line + b"\n" for entry_id, fields in found)


def _flat(fields: dict[bytes, bytes] | list[bytes]) -> list[bytes]:
    """Names and values in turn, in either client's shape."""
    return fields if isinstance(fields, list) else [part for pair in fields.items() for part in pair]
