"""The bytes of a spool's segment: a head, then records; and what can be read where they are torn or damaged. Pure.

A record is MARK, CRC-32 of what follows it, length of stream and payload, number, time (ms), length of the stream's
name, the name, the payload. Numbers rise within a slot and never come twice. A payload is JSON, in which no byte of the
mark can stand: so whatever is broken, the next record is found.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

HEAD: Final = b"icaze spool 1\n"
MARK: Final = b"\xff\xfe\xfd\xfc"
_FIXED: Final = struct.Struct(">IQQH")
_CRC: Final = struct.Struct(">I")
_START: Final = len(MARK) + _CRC.size
OVERHEAD: Final = _START + _FIXED.size
"""Bytes of a record beside its stream's name and its payload."""

Entry = tuple[str, bytes]
"""Stream and payload."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """One entry as it stands in a segment."""

    number: int
    at_ms: int
    """When it was spooled."""
    entry: Entry
    start: int
    end: int
    """Where it stands, bytes from the segment's start."""


class Gap(msgspec.Struct, frozen=True, gc=False):
    """Bytes that are no record."""

    start: int
    end: int


def packed(entries: Iterable[Entry], *, first: int, at_ms: int) -> bytes:
    """Records with numbers from `first` on."""
    parts: list[bytes] = []
    for number, (stream, payload) in enumerate(entries, first):
        name = stream.encode()
        body = _FIXED.pack(len(name) + len(payload), number, at_ms, len(name)) + name + payload
        parts += (MARK, _CRC.pack(zlib.crc32(body)), body)
    return b"".join(parts)


def scanned(data: bytes, *, headed: bool = True) -> Iterator[Record | Gap]:
    """All that stands in a segment, or in its rest without a head, in order.

    Where the end is torn, the last is a Gap that reaches to it.
    """
    at = lowest = 0
    if headed and data.startswith(HEAD):
        at = len(HEAD)
    elif headed and (at := _next_record(data, 0, 0)):
        yield Gap(0, at)
    while at < len(data):
        record = _record(data, at, lowest)
        if record is None:
            end = _next_record(data, at + 1, lowest)
            yield Gap(at, end)
            at = end
            continue
        yield record
        lowest, at = record.number + 1, record.end


def _next_record(data: bytes, at: int, lowest: int) -> int:
    """Where the next whole record begins; the end where there is none."""
    while (at := data.find(MARK, at)) >= 0:
        if _record(data, at, lowest) is not None:
            return at
        at += 1
    return len(data)


def _record(data: bytes, at: int, lowest: int) -> Record | None:
    body = at + _START
    start = body + _FIXED.size
    if start > len(data) or data[at : at + len(MARK)] != MARK:
        return None
    length, number, at_ms, named = _FIXED.unpack_from(data, body)
    end = start + length
    if end > len(data) or named > length or number < lowest:
        return None
    if zlib.crc32(memoryview(data)[body:end]) != _CRC.unpack_from(data, at + len(MARK))[0]:
        return None
    name = data[start : start + named].decode(errors="replace")
    return Record(number, at_ms, (name, data[start + named : end]), at, end)
