"""Segments: what is written is read again, and every changed byte is noticed."""

import gzip
import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.archive import segments
from processor.archive.segments import DamagedSegmentError, entry_line, member, members, origin, proved, read_line

ORIGIN = origin("00th", "audit")


def lines(*numbers: int) -> list[bytes]:
    return [entry_line(b"%d-0" % n, [b"m", b'{"rows":[%d]}' % n, b"v", b"a"]) for n in numbers]


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / "00th" / "audit" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def ids(folders: list[Path]) -> list[str]:
    return [name for name, _ in segments.read(folders, "00th", "audit")]


def test_an_entry_is_a_line_that_a_person_can_read() -> None:
    line = entry_line(b"170-1", [b"m", b'{"a":"b=c\\t"}', b"v", b"ad", b"w", b"01"])
    assert line == b'170-1\tm={"a":"b=c\\t"}\tv=ad\tw=01\n'


def test_a_field_that_would_break_its_line_stands_in_hex() -> None:
    assert entry_line(b"1-0", [b"m", b"a\tb"]) == b"1-0\t=6d=610962\n"
    assert entry_line(b"1-0", [b"a b", b""]) == b"1-0\t=612062=\n"


@given(st.lists(st.tuples(st.binary(), st.binary()), max_size=4, unique_by=lambda pair: pair[0]))
def test_every_entry_comes_back_as_it_stood(pairs: list[tuple[bytes, bytes]]) -> None:
    line = entry_line(b"12-34", [part for pair in pairs for part in pair])
    assert line.count(b"\n") == 1
    assert b"\x1f" not in line
    named = {name.decode(errors="backslashreplace"): value for name, value in pairs}
    assert read_line(line[:-1]) == ("12-34", named)


@pytest.mark.parametrize("line", [b"1-0\tm", b"1-0\t=6d", b"1-0\t=zz=00", b"1-0\t"])
def test_a_line_that_is_none_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # every kind of it
        read_line(line)


def test_gzip_unpacks_a_segment_and_its_hashes_can_be_recomputed_by_hand() -> None:
    first, one = member(1, ORIGIN, lines(1, 2))
    second, two = member(2, one, lines(3))
    printed = gzip.decompress(first + second)
    shown = printed.splitlines(keepends=True)
    assert shown[:2] == lines(1, 2)
    assert shown[3] == lines(3)[0]
    assert one == hashlib.sha256(hashlib.sha256(b"icaze 00th audit").digest() + b"".join(lines(1, 2))).digest()
    number, entries, _, previous, digest = shown[4].decode().strip().split("\t")[1:]
    assert (int(number), int(entries), previous, digest) == (2, 1, one.hex(), two.hex())


def test_members_are_found_and_proved_one_by_one() -> None:
    first, one = member(1, ORIGIN, lines(1, 2))
    second, _ = member(2, one, lines(3))
    found = list(members(first + second))
    assert [stored.at for stored in found] == [0, len(first)]
    (link, held), (after, more) = map(proved, found)
    assert (link.number, link.entries, link.previous, link.hash) == (1, 2, ORIGIN, one)
    assert held == [line[:-1] for line in lines(1, 2)]
    assert (after.previous, more) == (one, [lines(3)[0][:-1]])


def test_no_bit_of_a_member_can_be_changed_unnoticed() -> None:
    data, one = member(1, ORIGIN, lines(*range(1, 9)))
    for at in range(len(data)):
        for bit in range(8):
            broken = bytearray(data)
            broken[at] ^= 1 << bit
            noticed = False
            for stored in members(bytes(broken)):
                try:
                    noticed |= not stored.chain or proved(stored)[0].hash != one
                except ValueError:
                    noticed = True
            assert noticed, (at, bit)


def test_a_segment_cut_anywhere_ends_in_a_torn_tail() -> None:
    first, one = member(1, ORIGIN, lines(1))
    second, _ = member(2, one, lines(2))
    for length in range(len(first) + 1, len(first + second)):
        whole, tail = members((first + second)[:length])
        assert proved(whole)[0].hash == one
        assert (tail.at, tail.chain) == (len(first), b"")
    assert len(list(members(first))) == 1
    assert list(members(b"")) == []


def test_a_member_that_unpacks_to_more_than_any_of_ours_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data, _ = member(1, ORIGIN, lines(*range(1, 99)))
    monkeypatch.setattr(segments, "MEMBER_MOST_BYTES", 100)
    with pytest.raises(ValueError, match="not one gzip member"):
        proved(next(members(data)))


def test_entries_are_read_over_segments_and_folders_once_and_in_order(tmp_path: Path) -> None:
    here, there = tmp_path / "a", tmp_path / "b"
    first, one = member(1, ORIGIN, lines(9, 10))
    stale, _ = member(2, one, lines(11))
    again, two = member(2, one, lines(11, 12))
    third, _ = member(3, two, lines(100))
    put(here, "9-0.1.tsv.gz", first + stale + third[:40])
    put(there, "11-0.2.tsv.gz", again)
    put(here, "100-0.3.tsv.gz", third)
    put(here, "notes.tsv.gz", b"not ours")
    assert ids([here, there]) == ["9-0", "10-0", "11-0", "12-0", "100-0"]
    assert segments.tags([here, there]) == ["00th"]
    assert next(segments.read([here], "00th", "audit")) == ("9-0", {"m": b'{"rows":[9]}', "v": b"a"})
    assert list(segments.read([here], "00th", "acts")) == []


def test_a_damaged_segment_is_named_when_it_is_read(tmp_path: Path) -> None:
    first, one = member(1, ORIGIN, lines(1, 2))
    data = bytearray(first + member(2, one, lines(3))[0])
    data[len(first) + 12] ^= 0xFF
    path = put(tmp_path, "1-0.1.tsv.gz", bytes(data))
    with pytest.raises(DamagedSegmentError, match=f"{path}: the member at byte {len(first)}"):
        ids([tmp_path])
