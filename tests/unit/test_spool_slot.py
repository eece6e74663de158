"""A slot of the spool: what was spooled is replayed in order and once, by whoever has the slot."""

from pathlib import Path

import pytest

from ingest import spool_slot
from ingest.spool_records import Entry
from ingest.spool_slot import SpoolFullError, take_abandoned, take_free
from tests.unit.slots import AT_MS, ENTRIES, ROOM, drained, left, opened, spooled


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
