"""The format of a segment: what the archiver appends to a file, and how it is read again.

A segment is `<folder>/<partition's tag>/<audit|acts>/<id of its first entry>.<epoch of its writer>.tsv.gz`. It grows by
members, each two gzip members after one another: the lines of some entries, then, stored uncompressed, one line of the
chain. So `zcat` prints it all, and a damaged member takes no other with it.

An entry's line: its id, then `name=value` for each field as it stood, between tabs; a field that would break the
line stands as `=<name in hex>=<value in hex>`. A chain line: `#chain`, the member's number in the chain, its entries,
the CRC-32 of its gzip member as stored, the hash before, and the hash: SHA-256 of the hash before (32 bytes) and the
member's lines.
"""

import hashlib
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from lua.archives import Trail

SUFFIX: Final = ".tsv.gz"
LEVEL: Final = 1
"""Measured: 3 µs a decision instead of 7, for files a tenth larger."""
MEMBER_MOST_BYTES: Final = 256 << 20
"""Lines of one member at most: what claims to hold more is no member of ours."""
_PLAIN_NAME: Final = re.compile(rb"\w+", re.ASCII)
_BREAKS: Final = (b"\t", b"\n", b"\x1f")
"""No value stands as it is with one of these: the last begins a gzip member."""
_GZIP: Final = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_CHAIN: Final = re.compile(rb"#chain\t(\d{12})\t(\d{8})\t([0-9a-f]{8})\t([0-9a-f]{64})\t([0-9a-f]{64})\n")
_LINE_BYTES: Final = 6 + 13 + 9 + 9 + 65 + 65 + 1
_STORED: Final = _GZIP + struct.pack("<BHH", 1, _LINE_BYTES, _LINE_BYTES ^ 0xFFFF)
_MARK: Final = _STORED + b"#chain\t"
"""With this a chain line begins, and nothing else can: no entry's line holds the first byte of a gzip member."""
CHAIN_BYTES: Final = len(_STORED) + _LINE_BYTES + 8
_FILE: Final = re.compile(r"(\d+)-(\d+)\.(\d+)\.tsv\.gz")

EntryId = tuple[int, int]


class DamagedSegmentError(ValueError):
    """A segment cannot be read as it stands; the message names file and place."""


class Link(NamedTuple):
    """A chain line."""

    number: int
    entries: int
    crc: int
    previous: bytes
    hash: bytes


class Stored(NamedTuple):
    """Where a member stands in a segment, unread."""

    at: int
    body: bytes
    chain: bytes


def origin(tag: str, trail: Trail) -> bytes:
    """The hash before the first member of a chain."""
    return hashlib.sha256(f"icaze {tag} {trail}".encode()).digest()


def entry_line(entry_id: bytes, fields: Sequence[bytes]) -> bytes:
    """An entry as it stood on the stream; names and values alternate."""
    parts = [entry_id]
    for name, value in zip(fields[::2], fields[1::2], strict=True):
        if _PLAIN_NAME.fullmatch(name) and not any(byte in value for byte in _BREAKS):
            parts.append(name + b"=" + value)
        else:
            parts.append(f"={name.hex()}={value.hex()}".encode())
    return b"\t".join(parts) + b"\n"


def read_line(line: bytes) -> tuple[str, dict[str, bytes]]:
    """(id, fields) of an entry's line without its end; ValueError where it is none."""
    entry_id, *parts = line.split(b"\t")
    fields: dict[str, bytes] = {}
    for part in parts:
        name, equals, value = part.partition(b"=")
        if not name:
            hidden, equals, value = value.partition(b"=")
            name, value = bytes.fromhex(hidden.decode()), bytes.fromhex(value.decode())
        if not equals:
            raise ValueError("a field without a value")
        fields[name.decode(errors="backslashreplace")] = value
    return entry_id.decode(), fields


def member(number: int, previous: bytes, lines: Sequence[bytes]) -> tuple[bytes, bytes]:
    """(what to append, the member's hash)."""
    text = b"".join(lines)
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, 31)
    body = packer.compress(text) + packer.flush()
    digest = hashlib.sha256(previous + text).digest()
    return body + chain_member(Link(number, len(lines), zlib.crc32(body), previous, digest)), digest


def chain_member(link: Link) -> bytes:
    """The gzip member of a chain line: the same for the same link, byte for byte."""
    line = (
        f"#chain\t{link.number:012}\t{link.entries:08}\t{link.crc:08x}\t{link.previous.hex()}\t{link.hash.hex()}\n"
    ).encode()
    return _STORED + line + struct.pack("<II", zlib.crc32(line), len(line))


def members(data: bytes) -> Iterator[Stored]:
    """The members of a segment in their order, unread; a last one without a chain line is a torn tail."""
    at = 0
    while at < len(data):
        mark = data.find(_MARK, at)
        end = mark + CHAIN_BYTES
        if mark < 0 or end > len(data):
            yield Stored(at, data[at:], b"")
            return
        yield Stored(at, data[at:mark], data[mark:end])
        at = end


def link(stored: Stored) -> Link | None:
    """The chain line of a member; None where it cannot be read."""
    found = _CHAIN.search(stored.chain)
    if found is None:
        return None
    number, entries, crc, previous, digest = found.groups()
    return Link(
        int(number), int(entries), int(crc, 16), bytes.fromhex(previous.decode()), bytes.fromhex(digest.decode())
    )


def proved(stored: Stored) -> tuple[Link, list[bytes]]:
    """(chain line, entries' lines) of a member that is what was written, every byte; ValueError says what is not."""
    found = link(stored)
    if found is None or chain_member(found) != stored.chain:
        raise ValueError("its chain line is changed")
    if zlib.crc32(stored.body) != found.crc:
        raise ValueError("its entries are changed")
    text = _unpacked(stored.body)
    if hashlib.sha256(found.previous + text).digest() != found.hash:
        raise ValueError("its entries are not those of its hash")
    lines = text.split(b"\n")
    if lines.pop() or not lines or len(lines) != found.entries:
        raise ValueError("its entries are not as many as its chain line says")
    return found, lines


def _unpacked(body: bytes) -> bytes:
    unpacker = zlib.decompressobj(31)
    try:
        text = unpacker.decompress(body, MEMBER_MOST_BYTES)
    except zlib.error as error:
        raise ValueError(f"its entries cannot be unpacked ({error})") from None
    if not unpacker.eof or unpacker.unused_data or unpacker.unconsumed_tail:
        raise ValueError("its entries are not one gzip member")
    return text


def entry_id(text: str | bytes) -> EntryId:
    """An entry's id as it is ordered; ValueError where it is none."""
    ms, _, sequence = (text if isinstance(text, str) else text.decode()).partition("-")
    return int(ms), int(sequence)


class Segment(msgspec.Struct, frozen=True, order=True):
    """A file of the archive, ordered by its first entry."""

    first: EntryId
    epoch: int
    path: Path


def segment_name(first: str, epoch: str) -> str:
    """The name of a new segment; no two processes ever write the same one."""
    return f"{first}.{epoch}{SUFFIX}"


def segments(folders: Sequence[Path], tag: str, trail: Trail) -> list[Segment]:
    """The segments of a trail in all folders, oldest first; other files are passed over."""
    found: list[Segment] = []
    for folder in folders:
        for path in (folder / tag / trail).glob(f"*{SUFFIX}"):
            name = _FILE.fullmatch(path.name)
            if name is not None:
                ms, sequence, epoch = name.groups()
                found.append(Segment((int(ms), int(sequence)), int(epoch), path))
    return sorted(found)


def tags(folders: Sequence[Path]) -> list[str]:
    """The partitions that have segments in these folders."""
    return sorted({path.parent.parent.name for folder in folders for path in folder.glob(f"*/*/*{SUFFIX}")})


def read(folders: Sequence[Path], tag: str, trail: Trail) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Every archived entry of a trail, (id, fields), once, oldest first; a torn tail is left out.

    Raises DamagedSegmentError; that nothing is missing or changed is what `icaze audit verify` proves.
    """
    last: EntryId = (0, 0)
    for segment in segments(folders, tag, trail):
        for stored in members(segment.path.read_bytes()):
            if not stored.chain:
                continue
            try:
                for line in _unpacked(stored.body).split(b"\n")[:-1]:
                    found = read_line(line)
                    here = entry_id(found[0])
                    if here > last:  # a lane that lost the partition may have stored what its successor did again
                        last = here
                        yield found
            except ValueError as error:
                raise DamagedSegmentError(f"{segment.path}: the member at byte {stored.at}: {error}") from None
