"""A slot of the spool: a folder that one process has locked, its segments in order, and how far they are replayed.

Files: `lock`; `<number of its first record>.segment`; `position`, the number of the next record to replay;
`<segment>.damaged` and `.torn`, what could not be read (`ingest.spool_recovery`). All methods block on the disk, and
are called one at a time.
"""

import fcntl
import itertools
import os
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from ingest import spool_files as files
from ingest.spool_records import HEAD, Entry, Record, packed, scanned
from ingest.spool_recovery import recovered
from runtime.telemetry import SPOOL_DAMAGED, Log

SEGMENT_BYTES: Final = 16 << 20
READ_BYTES: Final = 2 << 20
"""Read at once for a batch: some seven thousand records."""
SUFFIX: Final = ".segment"


class SpoolFullError(OSError):
    """The spool's own bound is reached."""


class _Segment(msgspec.Struct):
    path: Path
    size: int
    """Bytes that are on disk for sure."""
    count: int
    """Records not yet replayed."""
    at: int = 0
    """Where the next of them begins; 0: at the first."""


class Slot:
    """The segments of one process; locked as long as it is open."""

    def __init__(self, folder: Path, lock: int, *, most_bytes: int) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._lock = lock
        self._log = Log("spool")
        self._segments: list[_Segment] = []
        self._tail: int | None = None
        """Descriptor of the last segment, where it may be written."""
        self._read: list[Record] = []
        self._position = files.position(folder)
        self._next = max(1, self._position)
        self.name: Final = folder.name
        self.entries = 0
        """Not yet replayed."""
        self.bytes = 0
        """Of all segments."""
        self.oldest_ms = 0
        """When what is replayed next was spooled; 0 where nothing is."""
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def append(self, entries: list[Entry], *, at_ms: int) -> None:
        """Add records, on disk when this returns; OSError (SpoolFullError at the bound), and nothing of them counts."""
        first = self._next
        data = packed(entries, first=first, at_ms=at_ms)
        if self.bytes + len(data) > self._most_bytes:
            raise SpoolFullError(f"the spool holds {self.bytes >> 20} MiB")
        self._next += len(entries)  # in any case: what a failed write left in its file must not have others' numbers
        if self._tail is None or self._segments[-1].size + len(data) > SEGMENT_BYTES:
            self._begin_segment(first)
        tail, segment = self._tail, self._segments[-1]
        assert tail is not None  # noqa: S101  # for the types
        try:
            files.write(tail, data)
        except OSError:
            self._cut(tail, segment.size)
            raise
        try:
            os.fdatasync(tail)
        except OSError:
            # What the kernel could not write it may forget, and say so once: this file is written no more.
            self._cut(tail, segment.size)
            self._end_segment()
            raise
        segment.size += len(data)
        segment.count += len(entries)
        self.bytes += len(data)
        self.oldest_ms = self.oldest_ms if self.entries else at_ms
        self.entries += len(entries)

    def read(self, most: int) -> list[Entry]:
        """The next entries to replay, the same until `done`; none where nothing is left."""
        while self._segments and not self._segments[0].count:
            if len(self._segments) == 1 and self._tail is not None:
                break
            self._remove_first()
        if not self._segments or not self.entries:
            return []
        segment = self._segments[0]
        found = self._records(segment, READ_BYTES, most) or self._records(segment, segment.size, most)
        if not found:
            self._give_up(segment)
            return self.read(most)
        self._read = found
        self.oldest_ms = found[0].at_ms
        return [record.entry for record in found]

    def done(self) -> None:
        """What `read` gave is stored: go on behind it, and remove the segment that holds nothing else."""
        segment, last = self._segments[0], self._read[-1]
        segment.at += last.end
        segment.count -= len(self._read)
        self.entries -= len(self._read)
        self._position = last.number + 1
        self._read = []
        try:
            files.keep_position(self._folder, self._position)
        except OSError as error:  # a full disk: after a crash more than a batch is repeated, which is harmless
            self._log.warning("the spool's position is not kept", error=os.strerror(error.errno or 0))
        if not segment.count and (len(self._segments) > 1 or self._tail is None):
            self._remove_first()

    def clear(self) -> None:
        """Remove the files of a slot that has no entries left."""
        self._end_segment()
        while self._segments:
            self._remove_first()

    def close(self) -> None:
        """Let go of the slot; its files stay."""
        self._end_segment()
        os.close(self._lock)

    # --- files

    def _records(self, segment: _Segment, size: int, most: int) -> list[Record]:
        """The next of a segment, from so many bytes of it; a record that these cut is left for the next time."""
        with segment.path.open("rb") as file:
            file.seek(segment.at)
            data = file.read(min(size, segment.size - segment.at))
        parts = scanned(data, headed=segment.at == 0)
        records = (part for part in parts if isinstance(part, Record) and part.number >= self._position)
        return list(islice(records, most))

    def _give_up(self, segment: _Segment) -> None:
        """Keep aside a segment in which fewer records can be read than were written, and go on behind it."""
        aside = files.aside(segment.path, "damaged")
        os.link(segment.path, aside)
        SPOOL_DAMAGED.inc()
        self._log.error("damaged segment", kept_as=str(aside), unreadable=segment.count)
        self.entries -= segment.count
        segment.count = 0
        if segment is self._segments[-1]:
            self._end_segment()

    def _open(self) -> None:
        """Find what a process before us left, and make it whole."""
        paths = sorted(self._folder.glob(f"*{SUFFIX}"))
        for path in paths:
            records = recovered(path, last=path == paths[-1])
            if not records:
                path.unlink()  # begun, and nothing was written: the next segment may have its number
                continue
            size = path.stat().st_size
            waiting = [record for record in records if record.number >= self._position]
            self._segments.append(_Segment(path, size, len(waiting)))
            self._next = max(self._next, records[-1].number + 1)
            self.bytes += size
            if waiting and not self.entries:
                self.oldest_ms = waiting[0].at_ms
            self.entries += len(waiting)
        if not self.entries:
            self.clear()

    def _begin_segment(self, first: int) -> None:
        self._end_segment()
        path = self._folder / f"{first:016d}{SUFFIX}"
        with files.created(path, new=True) as file:
            try:
                file.write(HEAD)
                file.flush()
                os.fsync(file.fileno())
                files.sync_folder(self._folder)
            except OSError:
                path.unlink(missing_ok=True)
                raise
            self._tail = os.dup(file.fileno())
        self._segments.append(_Segment(path, len(HEAD), 0))
        self.bytes += len(HEAD)

    def _end_segment(self) -> None:
        if self._tail is not None:
            os.close(self._tail)
            self._tail = None

    def _cut(self, tail: int, size: int) -> None:
        """Back to what is stored for sure; a file that cannot be cut is written no more."""
        try:
            os.ftruncate(tail, size)
        except OSError:
            self._end_segment()

    def _remove_first(self) -> None:
        segment = self._segments.pop(0)
        self.bytes -= segment.size
        segment.path.unlink(missing_ok=True)
        with suppress(OSError):  # a segment that comes back is behind the position
            files.sync_folder(self._folder)


def take_free(folder: Path, *, most_bytes: int) -> Slot:
    """The first slot that no process has; OSError where the folder cannot be used."""
    for number in itertools.count():
        slot = _taken(folder / str(number), most_bytes)
        if slot is not None:
            return slot
    raise AssertionError  # numbers have no end


def take_abandoned(folder: Path, *, most_bytes: int) -> Slot | None:
    """A slot with entries whose process has died; None where there is none."""
    for path in sorted(folder.iterdir()):
        if any(path.glob(f"*{SUFFIX}")) and (slot := _taken(path, most_bytes)) is not None:
            if slot.entries:
                return slot
            slot.close()
    return None


def _taken(path: Path, most_bytes: int) -> Slot | None:
    """The slot, locked; None where another process has it."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return Slot(path, lock, most_bytes=most_bytes)
