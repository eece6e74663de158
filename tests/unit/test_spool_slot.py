"""A slot of the spool: cut or hurt at any byte, what was acknowledged before is replayed, and nothing is invented."""

import errno
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest import spool_slot
from ingest.spool_records import HEAD, Entry, Gap, Record, packed, scanned
from ingest.spool_slot import Slot, SpoolFullError, take_abandoned, take_free

ENTRIES: Final[list[Entry]] = [("inbound:{00}", b'{"id":"%d"}' % n) for n in range(5)]
ROOM: Final = 64 << 20
AT_MS: Final = 1_767_254_400_000


@pytest.fixture
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of waits for the disk less, where only the bytes matter."""

    def unsynced(_: int) -> None:
        return

    monkeypatch.setattr(os, "fsync", unsynced)
    monkeypatch.setattr(os, "fdatasync", unsynced)


def opened(folder: Path) -> Slot:
    return take_free(folder, most_bytes=ROOM)


def drained(slot: Slot, most: int = 1000) -> list[Entry]:
    """All that is left, as a replay takes it."""
    found: list[Entry] = []
    while batch := slot.read(most):
        found += batch
        slot.done()
    return found


def left(folder: Path) -> list[Entry]:
    """What a process that starts now would replay."""
    slot = opened(folder)
    try:
        return drained(slot)
    finally:
        slot.close()


def spooled(folder: Path, *groups: list[Entry]) -> Path:
    """The only segment of a process that wrote these groups and died."""
    slot = opened(folder)
    for group in groups:
        slot.append(group, at_ms=AT_MS)
    slot.close()
    (segment,) = (folder / "0").glob("*.segment")
    return segment


def test_what_was_spooled_is_replayed_in_order_and_once(tmp_path: Path) -> None:
    slot = opened(tmp_path)
    slot.append(ENTRIES[:2], at_ms=AT_MS)
    slot.append(ENTRIES[2:], at_ms=AT_MS + 1)
    assert (slot.entries, slot.oldest_ms) == (5, AT_MS)
    assert slot.read(3) == slot.read(3) == ENTRIES[:3]
    slot.done()
    assert (slot.entries, slot.read(9)) == (2, ENTRIES[3:])
    slot.done()
    assert (slot.entries, slot.read(9)) == (0, [])
    slot.append(ENTRIES[:1], at_ms=AT_MS)
    assert drained(slot) == ENTRIES[:1]
    slot.clear()
    assert not list((tmp_path / "0").glob("*.segment"))
    assert slot.bytes == 0
    slot.close()
    assert left(tmp_path) == []


@pytest.mark.parametrize("replayed", range(6))
def test_a_process_that_dies_while_it_replays_leaves_the_rest(tmp_path: Path, replayed: int) -> None:
    slot = opened(tmp_path)
    slot.append(ENTRIES, at_ms=AT_MS)
    for _ in range(replayed):
        slot.read(1)
        slot.done()
    slot.close()
    assert left(tmp_path) == ENTRIES[replayed:]


def test_a_batch_that_was_read_and_not_stored_is_replayed_again(tmp_path: Path) -> None:
    slot = opened(tmp_path)
    slot.append(ENTRIES, at_ms=AT_MS)
    slot.read(3)
    slot.done()
    slot.read(2)
    slot.close()
    assert left(tmp_path) == ENTRIES[3:]


def test_numbers_go_on_after_a_restart_so_that_no_kept_position_hides_a_new_entry(tmp_path: Path) -> None:
    for n in range(3):
        spooled(tmp_path, ENTRIES)
        assert left(tmp_path) == ENTRIES, n
    (tmp_path / "0" / "position").write_bytes(b"99 of another")
    spooled(tmp_path, ENTRIES[:2])
    assert left(tmp_path) == ENTRIES[:2]


def test_a_position_that_is_torn_repeats_and_loses_nothing(tmp_path: Path) -> None:
    slot = opened(tmp_path)
    slot.append(ENTRIES, at_ms=AT_MS)
    slot.read(3)
    slot.done()
    slot.close()
    kept = (tmp_path / "0" / "position").read_bytes()
    for size in range(len(kept) - 1):
        copy = tmp_path / f"copy{size}"
        shutil.copytree(tmp_path / "0", copy / "0")
        (copy / "0" / "position").write_bytes(kept[:size])
        assert left(copy) == ENTRIES


@pytest.mark.usefixtures("unsynced")
def test_a_segment_cut_at_any_byte_keeps_every_whole_record_before(tmp_path: Path) -> None:
    segment = spooled(tmp_path / "a", ENTRIES)
    data = segment.read_bytes()
    ends = [part.end for part in scanned(data) if isinstance(part, Record)]
    for size in range(len(data) + 1):
        segment.write_bytes(data[:size])
        (segment.parent / "position").unlink(missing_ok=True)
        whole = sum(end <= size for end in ends)
        slot = opened(tmp_path / "a")
        assert slot.entries == whole, size
        start = max([len(HEAD), *(end for end in ends if end <= size)]) if size >= len(HEAD) else 0
        torn = list(segment.parent.glob("*.torn*"))
        assert [path.read_bytes() for path in torn] == ([data[start:size]] if size > start else [])
        for path in torn:
            path.unlink()
        slot.append(ENTRIES[:1], at_ms=AT_MS)
        assert drained(slot) == ENTRIES[:whole] + ENTRIES[:1], size
        slot.clear()
        slot.close()
    assert not list(segment.parent.glob("*.damaged*"))


@pytest.mark.usefixtures("unsynced")
def test_a_first_write_cut_at_any_byte_takes_nothing_from_what_the_next_process_spools(tmp_path: Path) -> None:
    before, cut, after = ENTRIES[:2], ENTRIES[2:3], ENTRIES[3:]
    made = tmp_path / "made"
    spooled(made, before)
    slot = opened(made)
    slot.append(cut, at_ms=AT_MS)
    slot.close()
    *_, segment = sorted((made / "0").glob("*.segment"))
    whole = segment.read_bytes()
    for at in range(len(whole) + 1):
        folder = tmp_path / str(at)
        shutil.copytree(made, folder)
        (folder / "0" / segment.name).write_bytes(whole[:at])
        kept = before + (cut if at == len(whole) else [])
        slot = opened(folder)
        slot.append(after[:1], at_ms=AT_MS)
        assert drained(slot) == kept + after[:1], at
        slot.append(after[1:], at_ms=AT_MS)
        slot.close()
        assert left(folder) == after[1:], at


@pytest.mark.usefixtures("unsynced")
def test_a_byte_flipped_anywhere_costs_one_record_at_most_and_invents_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    segment = spooled(tmp_path, ENTRIES)
    data = segment.read_bytes()
    records = [part for part in scanned(data) if isinstance(part, Record)]
    for at in range(len(data)):
        for mask in (0x01, 0xFF):
            flipped = bytearray(data)
            flipped[at] ^= mask
            segment.write_bytes(flipped)
            (segment.parent / "position").unlink(missing_ok=True)
            found = left(tmp_path)
            hit = next((k for k, record in enumerate(records) if record.start <= at < record.end), None)
            assert found == [entry for k, entry in enumerate(ENTRIES) if k != hit], at
            aside = list(segment.parent.glob("*.damaged*"))
            assert [path.read_bytes() for path in aside] == ([] if hit == len(records) - 1 else [bytes(flipped)])
            for path in aside:
                path.unlink()
    assert {record.message for record in caplog.records} == {"damaged segment", "torn end cut"}


def test_a_torn_end_before_another_segment_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_slot, "SEGMENT_BYTES", 150)
    slot = opened(tmp_path)
    for entry in ENTRIES:
        slot.append([entry], at_ms=AT_MS)
    slot.close()
    first, *others = sorted((tmp_path / "0").glob("*.segment"))
    assert len(others) >= 2
    first.write_bytes(first.read_bytes()[:-1])
    found = left(tmp_path)
    assert found == [entry for entry in ENTRIES if entry in found]
    assert len(found) == len(ENTRIES) - 1
    assert [path.name for path in (tmp_path / "0").glob("*.damaged*")] == [first.with_suffix(".damaged").name]


def test_damage_that_comes_while_the_process_lives_is_kept_aside_too(tmp_path: Path) -> None:
    slot = opened(tmp_path)
    slot.append(ENTRIES, at_ms=AT_MS)
    (segment,) = (tmp_path / "0").glob("*.segment")
    with segment.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    assert drained(slot) == ENTRIES[:-1]
    assert slot.entries == 0
    assert len(list((tmp_path / "0").glob("*.damaged"))) == 1
    slot.append(ENTRIES[:1], at_ms=AT_MS)
    assert drained(slot) == ENTRIES[:1]
    slot.close()


@given(data=st.binary(max_size=200))
def test_whatever_stands_in_a_file_can_be_scanned(data: bytes) -> None:
    parts = list(scanned(data))
    assert all(isinstance(part, Gap) for part in parts)
    assert sum(part.end - part.start for part in parts) <= len(data)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(payloads=st.lists(st.text().map(str.encode), max_size=8), cut=st.integers(0, 400), junk=st.binary(max_size=40))
def test_records_are_found_behind_any_junk(payloads: list[bytes], cut: int, junk: bytes) -> None:
    entries = [("s", payload) for payload in payloads]
    data = packed(entries, first=1, at_ms=AT_MS)
    found = [part.entry for part in scanned(data[:cut] + junk + data, headed=False) if isinstance(part, Record)]
    whole = [part.entry for part in scanned(data[:cut], headed=False) if isinstance(part, Record)]
    # Numbers that came before are not taken again: the second copy's begins where the first was cut.
    assert found == whole + entries[len(whole) :]


def test_large_and_many_entries_are_replayed_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_slot, "READ_BYTES", 500)
    monkeypatch.setattr(spool_slot, "SEGMENT_BYTES", 5000)
    entries: list[Entry] = [("s", b"%d" % n * (400 if n % 7 == 0 else 1)) for n in range(500)]
    slot = opened(tmp_path)
    for start in range(0, 500, 50):
        slot.append(entries[start : start + 50], at_ms=AT_MS)
    assert len(list((tmp_path / "0").glob("*.segment"))) > 3
    assert drained(slot, 7) == entries
    assert len(list((tmp_path / "0").glob("*.segment"))) == 1
    slot.close()


# --- the disk


def failing(error: int) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise OSError(error, os.strerror(error))

    return fail


def test_a_write_that_finds_no_room_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slot = opened(tmp_path)
    slot.append(ENTRIES[:1], at_ms=AT_MS)
    (segment,) = (tmp_path / "0").glob("*.segment")
    size, write, calls = segment.stat().st_size, os.write, 0

    def half(descriptor: int, data: memoryview) -> int:
        nonlocal calls
        calls += 1
        if calls % 2:
            return write(descriptor, data[:20])
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(OSError, match="no room"):
        slot.append(ENTRIES[1:3], at_ms=AT_MS)
    monkeypatch.undo()
    assert segment.stat().st_size == size
    slot.append(ENTRIES[3:], at_ms=AT_MS)
    slot.close()
    assert left(tmp_path) == ENTRIES[:1] + ENTRIES[3:]
    assert not list((tmp_path / "0").glob("*.damaged*"))


def test_a_file_that_reaches_the_kernel_s_limit_is_cut_back_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    slot = opened(tmp_path)
    slot.append(ENTRIES[:1], at_ms=AT_MS)
    (segment,) = (tmp_path / "0").glob("*.segment")
    size = segment.stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, hard))  # the second record is half written
    try:
        with pytest.raises(OSError, match="File too large"):
            slot.append(ENTRIES[1:], at_ms=AT_MS)
        assert segment.stat().st_size == size
        slot.append(ENTRIES[1:2], at_ms=AT_MS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    slot.append(ENTRIES[2:], at_ms=AT_MS)
    slot.close()
    assert left(tmp_path) == ENTRIES
    assert not list((tmp_path / "0").glob("*.damaged*"))


@pytest.mark.parametrize("cut_fails", [False, True])
def test_a_file_whose_sync_failed_is_written_no_more_and_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut_fails: bool
) -> None:
    slot = opened(tmp_path)
    slot.append(ENTRIES[:1], at_ms=AT_MS)
    monkeypatch.setattr(os, "fdatasync", failing(errno.EIO))
    if cut_fails:
        monkeypatch.setattr(os, "ftruncate", failing(errno.EIO))
    with pytest.raises(OSError, match="error"):
        slot.append(ENTRIES[1:3], at_ms=AT_MS)
    monkeypatch.undo()
    slot.append(ENTRIES[3:], at_ms=AT_MS)
    assert len(list((tmp_path / "0").glob("*.segment"))) == 2
    slot.close()
    # What was told "not stored" may stand where it could not be cut; what was acknowledged does in any case.
    assert left(tmp_path) == (ENTRIES if cut_fails else ENTRIES[:1] + ENTRIES[3:])


def test_a_file_that_cannot_be_begun_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slot = opened(tmp_path)
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
    with pytest.raises(OSError, match="space"):
        slot.append(ENTRIES[:1], at_ms=AT_MS)
    monkeypatch.undo()
    slot.append(ENTRIES, at_ms=AT_MS)
    assert drained(slot) == ENTRIES
    slot.close()


def test_the_bound_is_held(tmp_path: Path) -> None:
    slot = take_free(tmp_path, most_bytes=300)
    slot.append(ENTRIES[:2], at_ms=AT_MS)
    with pytest.raises(SpoolFullError, match="the spool holds"):
        slot.append(ENTRIES, at_ms=AT_MS)
    assert slot.bytes <= 300
    assert drained(slot) == ENTRIES[:2]
    slot.clear()
    slot.append(ENTRIES[:2], at_ms=AT_MS)
    slot.close()


def test_a_position_that_finds_no_room_does_not_stop_the_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = opened(tmp_path)
    slot.append(ENTRIES, at_ms=AT_MS)
    monkeypatch.setattr("ingest.spool_files.keep_position", failing(errno.ENOSPC))
    assert drained(slot, 2) == ENTRIES
    slot.close()


def test_files_are_their_owner_s_alone(tmp_path: Path) -> None:
    spooled(tmp_path / "spool", ENTRIES)
    slot = opened(tmp_path / "spool")
    slot.read(1)
    slot.done()
    slot.close()
    assert (tmp_path / "spool" / "0").stat().st_mode & 0o777 == 0o700
    files = list((tmp_path / "spool" / "0").iterdir())
    assert {path.name.rpartition(".")[2] for path in files} == {"segment", "lock", "position"}
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


# --- whose it is


def test_two_processes_never_share_a_slot(tmp_path: Path) -> None:
    first, second = opened(tmp_path), opened(tmp_path)
    assert (first.name, second.name) == ("0", "1")
    first.append(ENTRIES[:2], at_ms=AT_MS)
    second.append(ENTRIES[2:], at_ms=AT_MS)
    assert take_abandoned(tmp_path, most_bytes=ROOM) is None
    first.close()
    found = take_abandoned(tmp_path, most_bytes=ROOM)
    assert found is not None
    assert drained(found) == ENTRIES[:2]
    assert take_abandoned(tmp_path, most_bytes=ROOM) is None
    found.close()
    second.close()
    assert left(tmp_path) == []


def test_a_slot_without_entries_is_no_work_for_anybody(tmp_path: Path) -> None:
    slot = opened(tmp_path)
    slot.append(ENTRIES, at_ms=AT_MS)
    drained(slot)
    slot.close()
    assert take_abandoned(tmp_path, most_bytes=ROOM) is None
    assert not list((tmp_path / "0").glob("*.segment"))
