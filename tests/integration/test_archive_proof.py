"""`icaze audit`: whatever is changed, missing or moved in the segments is named; what a crash leaves is no fault."""

import argparse
import asyncio
import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from lua import archives
from processor.archive import command, segments
from processor.archive.segments import CHAIN_BYTES, Stored
from runtime import layout
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from runtime.settings import Settings
from tests.integration.archives import PARTITION, Archive, entry
from tests.integration.ingest_door import KEYS, ROUTE


@pytest.fixture
async def archive(redis: Client, server: EmbeddedStore, tmp_path: Path) -> Archive:
    """Six members in three segments: entries 1, 2, 3 | 4, 5 6 | 7 8."""
    archive = Archive(redis, server.url, tmp_path)
    for group in (((1,), (2,), (3,)), ((4,), (5, 6)), ((7, 8),)):
        async with archive.worker() as worker:
            for numbers in group:
                await archive.add(*numbers)
                await worker.round()
    assert archive.archived() == list(range(1, 9))
    assert (await archive.proof()).ok
    return archive


def members_of(path: Path) -> list[Stored]:
    return list(segments.members(path.read_bytes()))


def put(path: Path, members: Sequence[Stored]) -> None:
    path.write_bytes(b"".join(stored.body + stored.chain for stored in members))


async def kinds(archive: Archive, *, offline: bool = False) -> list[str]:
    return [fault.kind for fault in await archive.faults(offline=offline)]


@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize("place", [0, 5, 12, 40, -CHAIN_BYTES + 20, -CHAIN_BYTES // 2, -1])
async def test_a_changed_byte_is_named(archive: Archive, place: int, *, offline: bool) -> None:
    path = archive.files()[1]
    first, second = members_of(path)
    data = bytearray(path.read_bytes())
    data[second.at + place] ^= 0x20  # behind the second member's begin, or before the first one's end
    path.write_bytes(data)
    fault, *others = await archive.faults(offline=offline)
    assert fault.kind == "changed"
    assert fault.where == f"{path}, byte {(first if place < 0 else second).at}"
    assert {other.kind for other in others} <= {"missing"}  # where it can no longer be read which member this is


async def test_a_changed_entry_is_named_though_its_member_was_packed_anew(archive: Archive) -> None:
    path = archive.files()[1]
    first, second = members_of(path)
    text = gzip.decompress(first.body).replace(b"[4]", b"[9]")
    forged, _ = segments.member(4, segments.proved(first)[0].previous, text.splitlines(keepends=True))
    path.write_bytes(forged + second.body + second.chain)
    assert "missing" in await kinds(archive)
    assert "missing" in await kinds(archive, offline=True)


@pytest.mark.parametrize("offline", [False, True])
async def test_a_changed_entry_is_named_though_its_member_claims_its_hash(archive: Archive, *, offline: bool) -> None:
    path = archive.files()[1]
    first, second = members_of(path)
    link, _ = segments.proved(first)
    body = gzip.compress(gzip.decompress(first.body).replace(b"[4]", b"[9]"))
    forged = segments.chain_member(link._replace(crc=zlib.crc32(body)))
    path.write_bytes(body + forged + second.body + second.chain)
    [fault] = await archive.faults(offline=offline)
    assert (fault.kind, fault.says) == ("changed", "member 4: its entries are not those of its hash")


@pytest.mark.parametrize("offline", [False, True])
async def test_a_member_that_was_renumbered_is_noticed(archive: Archive, *, offline: bool) -> None:
    path = archive.files()[2]
    [last] = members_of(path)
    link, _ = segments.proved(last)
    path.write_bytes(last.body + segments.chain_member(link._replace(number=60)))
    assert await kinds(archive, offline=offline) == ["missing"]


async def test_a_chain_forged_to_its_end_does_not_meet_the_head(archive: Archive) -> None:
    previous = segments.origin(PARTITION.tag, "audit")
    number = 0
    for path in archive.files():
        data = b""
        for stored in members_of(path):
            number += 1
            text = gzip.decompress(stored.body).replace(b"\tv=", b"\tv=d")
            more, previous = segments.member(number, previous, text.splitlines(keepends=True))
            data += more
        path.write_bytes(data)
    assert await kinds(archive, offline=True) == []  # whoever may write all files may forge them: the head is elsewhere
    assert "missing" in await kinds(archive)


@pytest.mark.parametrize("offline", [False, True])
async def test_swapped_records_are_noticed(archive: Archive, *, offline: bool) -> None:
    path = archive.files()[1]
    first, second = members_of(path)
    lines = gzip.decompress(second.body).splitlines(keepends=True)
    body = gzip.compress(b"".join(reversed(lines)))
    path.write_bytes(first.body + first.chain + body + second.chain)
    assert await kinds(archive, offline=offline) == ["changed"]


@pytest.mark.parametrize("offline", [False, True])
async def test_swapped_members_are_noticed(archive: Archive, *, offline: bool) -> None:
    path = archive.files()[0]
    one, two, three = members_of(path)
    put(path, [one, three, two])
    assert await kinds(archive, offline=offline) == ["swapped"]


@pytest.mark.parametrize("offline", [False, True])
async def test_swapped_files_are_noticed(archive: Archive, *, offline: bool) -> None:
    one, two, _ = archive.files()
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    assert await kinds(archive, offline=offline) == ["swapped", "swapped"]


@pytest.mark.parametrize("which", [0, 1, 2])
async def test_a_missing_member_is_noticed(archive: Archive, which: int) -> None:
    path = archive.files()[0]
    whole = members_of(path)
    put(path, [stored for at, stored in enumerate(whole) if at != which])
    faults = [fault for fault in await archive.faults() if fault.kind == "missing"]
    assert [fault.says for fault in faults] == [f"1 member(s) of the chain stand in no segment: {which + 1}"]
    assert "missing" in await kinds(archive, offline=True)


@pytest.mark.parametrize(("which", "numbers"), [(0, "1, 2, 3"), (1, "4, 5"), (2, "6")])
async def test_a_missing_file_is_noticed(archive: Archive, which: int, numbers: str) -> None:
    archive.files()[which].unlink()
    [fault] = await archive.faults()
    assert (fault.kind, fault.says.rpartition(": ")[2]) == ("missing", numbers)


async def test_a_missing_folder_is_noticed(archive: Archive) -> None:
    for path in archive.files():
        path.unlink()
    assert await kinds(archive) == ["missing"]
    assert await kinds(archive, offline=True) == []  # there is nothing to prove


async def test_a_first_member_that_was_renumbered_is_noticed(archive: Archive) -> None:
    path = archive.files()[0]
    path.unlink()
    for path, numbers in zip(archive.files(), ((1, 2), (3,)), strict=True):
        data = b""
        for number, stored in zip(numbers, members_of(path), strict=True):
            link, lines = segments.proved(stored)
            data += segments.member(number, link.previous, [line + b"\n" for line in lines])[0]
        path.write_bytes(data)
    assert "missing" in await kinds(archive)
    assert await kinds(archive, offline=True) == ["missing"]


@pytest.mark.parametrize("cut", [1, CHAIN_BYTES - 1, CHAIN_BYTES, CHAIN_BYTES + 5])
@pytest.mark.parametrize("which", [0, 2])
async def test_a_truncated_segment_is_noticed(archive: Archive, which: int, cut: int) -> None:
    path = archive.files()[which]
    path.write_bytes(path.read_bytes()[:-cut])
    proof = await archive.proof()
    assert [fault.kind for fault in proof.faults] == ["missing"]
    assert [note.startswith(str(path)) for note in proof.notes] == [True]


async def test_what_a_crash_left_behind_the_last_member_is_told_and_no_fault(archive: Archive) -> None:
    path = archive.files()[0]
    path.write_bytes(path.read_bytes() + bytes(100))
    for offline in (False, True):
        proof = await archive.proof(offline=offline)
        assert (proof.ok, proof.entries, len(proof.notes)) == (True, 8, 1)
        assert "100 bytes of a member that was never finished" in proof.notes[0]
    assert archive.archived() == list(range(1, 9))


async def test_entries_that_left_the_store_unarchived_are_a_gap(archive: Archive) -> None:
    await archive.add(9, 10, 11)
    await archive.client.execute_command("XTRIM", PARTITION.audit, "MINID", entry(11))
    [fault] = await archive.faults()
    assert (fault.kind, fault.where) == ("gap", PARTITION.audit)
    assert fault.says.startswith("2 entries have left")


async def test_an_entry_deleted_by_hand_is_a_gap_too(archive: Archive) -> None:
    await archive.add(9, 10, 11)
    await archive.client.execute_command("XDEL", PARTITION.audit, entry(10))
    await archive.archive(12)
    assert [fault.says for fault in await archive.faults()] == ["1 entries have left the stream and are in no segment"]


async def test_a_store_that_lost_its_trail_is_told(archive: Archive) -> None:
    await archive.client.execute_command("DEL", PARTITION.audit)
    [fault] = await archive.faults()
    assert fault.says.startswith("the archive holds 8 entries more")


async def test_a_store_that_lost_its_head_knows_nothing_of_the_segments(archive: Archive) -> None:
    await archive.client.execute_command("DEL", PARTITION.archive)
    assert await kinds(archive) == []  # all of it stands in the store still, as after a crash before the first head
    await archive.client.execute_command("XTRIM", PARTITION.audit, "MINID", entry(2))
    assert await kinds(archive) == ["foreign"]


async def test_a_head_that_tells_of_other_entries_is_noticed(archive: Archive) -> None:
    raw = await archives.standing(archive.client, PARTITION, "audit")
    head = archives.read(raw)
    assert head is not None
    for other in (msgspec.structs.replace(head, entries=9), msgspec.structs.replace(head, last=entry(7))):
        await archive.client.execute_command("HSET", PARTITION.archive, "audit", msgspec.json.encode(other))
        assert await kinds(archive) == ["missing"]


async def test_an_entry_forged_beside_the_chain_is_noticed(archive: Archive) -> None:
    folder = archive.files()[0].parent
    *_, last = members_of(archive.files()[0])
    line = segments.entry_line(entry(4).encode(), [b"m", b"forged"])
    data, _ = segments.member(4, segments.proved(last)[0].hash, [line])
    (folder / f"{entry(4)}.9.tsv.gz").write_bytes(data)
    assert await kinds(archive) == ["foreign"]
    assert await kinds(archive, offline=True) == ["foreign"]


async def test_an_entry_forged_beyond_the_head_is_noticed_by_the_store(archive: Archive) -> None:
    folder = archive.files()[0].parent
    head = await archive.head()
    assert head is not None
    line = segments.entry_line(entry(9).encode(), [b"m", b"forged"])
    data, _ = segments.member(7, bytes.fromhex(head.hash), [line])
    (folder / f"{entry(9)}.9.tsv.gz").write_bytes(data)
    assert await kinds(archive) == ["foreign"]


async def test_another_partitions_segments_are_not_taken_for_ours(archive: Archive) -> None:
    folder = archive.folder("a")
    (folder / PARTITION.tag).rename(folder / KEYS[2].tag)
    assert sorted(fault.where for fault in await archive.faults() if fault.kind == "missing") == [
        f"{PARTITION.tag}/audit",
    ]
    assert "foreign" in await kinds(archive)
    assert await kinds(archive, offline=True) == ["missing"]


def asked(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return parser.parse_args(words)


async def test_the_command_prints_each_chains_hash_and_exits_by_what_it_found(
    archive: Archive, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(redis_url=archive.url, archive_dir=str(archive.folder("a")))
    monkeypatch.setattr(command, "load_settings", lambda: settings)
    await layout.settle(archive.client, ROUTE)
    await archive.add(9)
    assert await asyncio.to_thread(command.run, asked("verify")) == 0
    head = await archive.head()
    assert head is not None
    out = capsys.readouterr().out
    assert f"{PARTITION.tag}/audit: 8 entries to {entry(8)}, 1 not yet archived; {head.hash}" in out
    assert "ok: 8 entries in 6 members, 3 segments" in out
    archive.files()[1].unlink()
    assert await asyncio.to_thread(command.run, asked("verify", "--json")) == 1
    proof = msgspec.json.decode(capsys.readouterr().out)
    assert proof["ok"] is False
    assert [fault["kind"] for fault in proof["faults"]] == ["missing"]
    assert await asyncio.to_thread(command.run, asked("verify", "--offline")) == 1
    assert "MISSING" in capsys.readouterr().out
    await archive.client.execute_command("DEL", "layout")
    assert await asyncio.to_thread(command.run, asked("verify")) == 2
    assert "the store is empty" in capsys.readouterr().err


async def test_the_command_shows_entries_of_a_time(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(archive.folder("a"))
    since, until = "2027-01-15T08:00:00.003Z", "2027-01-15T08:00:00.006Z"
    assert command.run(asked("show", "--partition", "1", "--from", since, "--until", until, "--dir", folder)) == 0
    shown = [msgspec.json.decode(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["id"] for one in shown] == [entry(3), entry(4), entry(5)]
    assert shown[0] == {"id": entry(3), "m": {"rows": [3]}, "v": "aaa"}
    assert command.run(asked("show", "--partition", "2", "--dir", folder)) == 1
    assert "no segment of partition 2" in capsys.readouterr().err


def test_a_folder_that_is_not_there_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(asked("verify", "--offline", "--dir", str(tmp_path / "none"))) == 2
    assert "is no folder" in capsys.readouterr().err
    assert command.run(asked("verify", "--offline", "--dir", str(tmp_path))) == 2
    assert "no segment in" in capsys.readouterr().err
