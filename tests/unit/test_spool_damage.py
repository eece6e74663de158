"""Segments that are cut or hurt at any byte: what was acknowledged before is replayed, and nothing is invented."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest import spool_slot
from ingest.spool_records import HEAD, Gap, Record, packed, scanned
from tests.unit.slots import AT_MS, ENTRIES, drained, left, opened, spooled


@pytest.fixture
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of waits for the disk less, where only the bytes matter."""

    def unsynced(_: int) -> None:
        return

    monkeypatch.setattr(os, "fsync", unsynced)
    monkeypatch.setattr(os, "fdatasync", unsynced)


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
