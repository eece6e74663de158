"""A segment that a dead process left, made whole: what can be read of it stays, and nothing else is thrown away."""

import os
from pathlib import Path
from typing import Final

from ingest import spool_files as files
from ingest.spool_records import HEAD, Gap, Record, scanned
from runtime.telemetry import SPOOL_DAMAGED, Log

_LOG: Final = Log("spool")


def recovered(path: Path, *, last: bool) -> list[Record]:
    """The records of a segment, which then holds nothing else.

    What is torn at the end of the `last` one was being written, and cut off is kept as `.torn`: nobody can tell it from
    damage to the last record. Any other gap is damage: the file as it was is kept as `.damaged`, and counted.
    """
    data = path.read_bytes()
    found = list(scanned(data))
    records = [part for part in found if isinstance(part, Record)]
    gaps = [part for part in found if isinstance(part, Gap)]
    if last and len(gaps) == 1 and gaps[0].end == len(data):
        _cut_torn(path, gaps[0], data)
    elif gaps:
        _set_aside(path, data, records, gaps)
    return records


def _cut_torn(path: Path, gap: Gap, data: bytes) -> None:
    aside = files.aside(path, "torn")
    with files.created(aside) as file:
        file.write(data[gap.start :])
        file.flush()
        os.fsync(file.fileno())
    files.sync_folder(path.parent)
    with path.open("r+b") as file:
        file.truncate(gap.start)
        os.fsync(file.fileno())
    _LOG.warning("torn end cut", kept_as=str(aside), bytes=gap.end - gap.start)


def _set_aside(path: Path, data: bytes, records: list[Record], gaps: list[Gap]) -> None:
    whole = path.with_suffix(".whole")
    with files.created(whole) as file:
        file.write(HEAD + b"".join(data[record.start : record.end] for record in records))
        file.flush()
        os.fsync(file.fileno())
    aside = files.aside(path, "damaged")
    os.link(path, aside)
    whole.replace(path)
    files.sync_folder(path.parent)
    SPOOL_DAMAGED.inc()
    lost = sum(gap.end - gap.start for gap in gaps)
    _LOG.error("damaged segment", kept_as=str(aside), gaps=len(gaps), bytes=lost, readable=len(records))
