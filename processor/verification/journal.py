"""The journal: which ids ingest acknowledged, in eight bytes each, so that a national day fits.

Reads NDJSON `{"id", "acked_ms"}` and `{"id", "rejected"}` as `icaze replay` writes it.
"""

from array import array
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from processor.verification.inputs import read_lines

BUCKETS: Final = 256
"""Looked through one at a time: only one bucket stands in memory as Python objects."""


class JournalLine(msgspec.Struct, frozen=True, gc=False):
    """What ingest answered about one id."""

    id: str
    acked_ms: int | None = None
    rejected: str | None = None

    def __post_init__(self) -> None:
        if self.acked_ms is None and self.rejected is None:
            raise ValueError("neither `acked_ms` nor `rejected`")


def read_journal(path: Path) -> Iterator[JournalLine]:
    """All lines of a journal, in the order of acknowledgement."""
    return read_lines(path, JournalLine)


class Buckets:
    """A multiset of texts as 64-bit hashes (of this process); a false match among 5 million is a one in 10^6 chance."""

    def __init__(self) -> None:
        self.arrays = [array("q") for _ in range(BUCKETS)]

    def add(self, text: str) -> None:
        """Put one text in."""
        hashed = hash(text)
        self.arrays[hashed % BUCKETS].append(hashed)


class Journal:
    """The acknowledged ids; `source` yields the lines anew at each call."""

    def __init__(self, source: Callable[[], Iterable[JournalLine]], known_from_ms: int = 0) -> None:
        self._source = source
        self._known_from_ms = known_from_ms
        self.ids = Buckets()
        self.older = 0
        """Lines acknowledged before `known_from_ms`: their decisions may have left the trail."""
        for line in source():
            if line.acked_ms is None:
                continue
            if line.acked_ms < known_from_ms:
                self.older += 1
            else:
                self.ids.add(line.id)
        self.acknowledged = sum(len(set(bucket)) for bucket in self.ids.arrays)

    def names(self, hashes: Collection[int], limit: int) -> list[str]:
        """The first ids with one of these hashes, in the journal's order."""
        found: dict[str, None] = {}
        for line in self._source():
            if line.acked_ms is not None and line.acked_ms >= self._known_from_ms and hash(line.id) in hashes:
                found[line.id] = None
                if len(found) == min(limit, len(hashes)):
                    break
        return list(found)
