"""A disk that is full, fails, or has a file already: nothing that counts is lost, and the spool goes on when it can."""

import errno
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.slots import AT_MS, ENTRIES, drained, left, opened


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


def test_a_position_that_finds_no_room_does_not_stop_the_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = opened(tmp_path)
    slot.append(ENTRIES, at_ms=AT_MS)
    monkeypatch.setattr("ingest.spool_files.keep_position", failing(errno.ENOSPC))
    assert drained(slot, 2) == ENTRIES
    slot.close()


def test_a_segment_that_stands_already_is_not_begun_anew(tmp_path: Path) -> None:
    slot = opened(tmp_path)
    taken = tmp_path / "0" / f"{1:016d}.segment"
    taken.write_bytes(b"somebody's")
    with pytest.raises(FileExistsError):
        slot.append(ENTRIES[:1], at_ms=AT_MS)
    assert taken.read_bytes() == b"somebody's"
    slot.append(ENTRIES[1:], at_ms=AT_MS)
    assert drained(slot) == ENTRIES[1:]
    slot.close()
