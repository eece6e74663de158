"""Proves one chain: walks back over its members from the head, and names what is missing or is not as it was written.

Reads the segments of one trail.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

import msgspec

from lua.archives import Head
from processor.archive.segments import EntryId, Segment, entry_id, link, members, proved

Kind = Literal["changed", "missing", "swapped", "gap", "foreign"]
_SHOWN: Final = 8


class Fault(msgspec.Struct, frozen=True):
    """What is wrong, and where."""

    kind: Kind
    where: str
    says: str


class Member(msgspec.Struct, frozen=True):
    """A member as it stands in a segment, every byte as it was written."""

    path: Path
    at: int
    size: int
    number: int
    entries: int
    previous: bytes
    hash: bytes
    first: EntryId
    last: EntryId

    def lines(self) -> list[bytes]:
        """Its entries, read again."""
        with self.path.open("rb") as file:
            file.seek(self.at)
            return proved(next(members(file.read(self.size))))[1]


class Found(msgspec.Struct):
    """What the segments of a trail hold."""

    sound: list[Member] = msgspec.field(default_factory=list[Member])
    changed: set[int] = msgspec.field(default_factory=set[int])
    """Numbers of members that are not as they were written, as far as they can be told."""
    faults: list[Fault] = msgspec.field(default_factory=list[Fault])
    torn: list[str] = msgspec.field(default_factory=list[str])


def scan(found: Found, segment: Segment) -> int:
    """Add what one segment holds; its size."""
    data, inside = segment.path.read_bytes(), list[Member]()
    for stored in members(data):
        where = f"{segment.path}, byte {stored.at}"
        if not stored.chain:
            found.torn.append(f"{where}: {len(stored.body)} bytes of a member that was never finished, or is cut off")
            continue
        try:
            chained, lines = proved(stored)
            first, last = _id_of(lines[0]), _id_of(lines[-1])
        except ValueError as error:
            claimed = link(stored)
            found.changed |= set() if claimed is None else {claimed.number}
            number = "a member" if claimed is None else f"member {claimed.number}"
            found.faults.append(Fault("changed", where, f"{number}: {error}"))
            continue
        size = len(stored.body) + len(stored.chain)
        inside.append(
            Member(
                path=segment.path,
                at=stored.at,
                size=size,
                number=chained.number,
                entries=chained.entries,
                previous=chained.previous,
                hash=chained.hash,
                first=first,
                last=last,
            )
        )
    found.sound += inside
    found.faults += _in_place(segment, inside)
    return len(data)


def _in_place(segment: Segment, inside: Sequence[Member]) -> Iterator[Fault]:
    """Whether a segment has its own name, and its members their order."""
    if inside and inside[0].at == 0 and inside[0].first != segment.first:
        first = _shown(inside[0].first)
        yield Fault("swapped", str(segment.path), f"its first entry is {first}: it is another segment's content")
    for earlier, later in pairwise(inside):
        if later.number <= earlier.number:
            where = f"{segment.path}, byte {later.at}"
            yield Fault("swapped", where, f"member {later.number} stands behind member {earlier.number}")


class Chain(msgspec.Struct):
    """A chain as far as it is proved, oldest member first, and what stands beside it."""

    members: list[Member]
    beside: list[Member]
    """Sound members of no use to the chain: written again by a successor, or not yet named by the head."""
    faults: list[Fault]


def walk(found: Found, *, origin: bytes, head: Head | None, name: str) -> Chain:
    """The chain that ends at the head; without one, at the last member found."""
    by_hash = {member.hash: member for member in found.sound}
    newest = max(by_hash.values(), key=_place, default=None)
    number = newest.number if newest else 0
    wanted = newest.hash if newest else origin
    if head is not None:
        number, wanted = head.number, bytes.fromhex(head.hash)
    proven, faults = list[Member](), list[Fault]()
    while wanted != origin or number > 0:
        member = by_hash.pop(wanted, None)
        if member is None or member.number != number:
            member = max((m for m in by_hash.values() if m.number < number), key=_place, default=None)
            lost = set(range(member.number + 1 if member else 1, number + 1)) - found.changed
            faults += [_missing(name, lost)] if lost else []
            if member is None:
                faults += [] if number else [Fault("missing", name, "member 1 is not the beginning of this chain")]
                break
            del by_hash[member.hash]
        proven.append(member)
        wanted, number = member.previous, member.number - 1
    proven.reverse()
    if head is not None and not faults and not found.changed:
        held = sum(member.entries for member in proven)
        if held != head.entries or proven[-1].last != entry_id(head.last):
            says = f"the head tells of {head.entries} entries to {head.last}, the chain holds {held}"
            faults.append(Fault("missing", name, says))
    return Chain(proven, list(by_hash.values()), faults)


def _place(member: Member) -> tuple[int, EntryId]:
    return member.number, member.last


def _missing(name: str, lost: Iterable[int]) -> Fault:
    numbers = sorted(lost)
    some = ", ".join(map(str, numbers[:_SHOWN])) + (f", ... {numbers[-1]}" if len(numbers) > _SHOWN else "")
    return Fault("missing", name, f"{len(numbers)} member(s) of the chain stand in no segment: {some}")


def lines_beside(chain: Chain) -> Iterator[tuple[Member, bytes]]:
    """Entries of the members beside a chain that the chain does not hold: those beyond its end, or strange to it."""
    for member in chain.beside:
        held = {line for other in chain.members if _overlap(member, other) for line in other.lines()}
        yield from ((member, line) for line in member.lines() if line not in held)


def _overlap(one: Member, other: Member) -> bool:
    return one.first <= other.last and other.first <= one.last


def _id_of(line: bytes) -> EntryId:
    return entry_id(line.partition(b"\t")[0])


def _shown(entry: EntryId) -> str:
    return f"{entry[0]}-{entry[1]}"
