"""One partition's applications as a worker goes through them: from the head on, past those that must wait.

An entry stands in its stream until it is settled. So nothing kept here must outlive the worker: whoever comes next
begins at the head.
"""

import random
from collections.abc import Sequence
from typing import Final

import msgspec

from lua.keys import PartitionKeys

WAIT_S: Final = (5.0, 60.0)
"""First and longest wait of an application about which the registry has no word."""
MOST_PUT_OFF: Final = 10_000
"""Remembered; past it all are asked about again."""


class Waiting(msgspec.Struct, frozen=True):
    """One entry of `applications:{p}`."""

    queue: "ApplicationQueue"
    entry_id: bytes
    raw: bytes
    alone: bool
    """The registry has choked on it: it is asked about in no company."""


class _PutOff(msgspec.Struct, frozen=True):
    due_s: float = 0.0
    times: int = 0
    alone: bool = False


class ApplicationQueue:
    """Where a worker is in one partition's stream."""

    def __init__(self, index: int, keys: PartitionKeys) -> None:
        self.index = index
        self.keys = keys
        self._after = b"-"
        self._again_s = float("inf")
        self._put_off: dict[bytes, _PutOff] = {}

    def start(self, now_s: float) -> bytes:
        """Where the next read begins: at the head where something is due there, else behind what was seen."""
        if now_s >= self._again_s:
            self._after, self._again_s = b"-", float("inf")
        return self._after

    def take(self, page: Sequence[tuple[bytes, Sequence[bytes]]], room: int, now_s: float) -> list[Waiting]:
        """The first entries of a page that are due, at most `room`; the next read begins behind them."""
        taken: list[Waiting] = []
        for entry_id, fields in page:
            if len(taken) == room:
                break
            self._after = b"(" + entry_id
            known = self._put_off.get(entry_id, _PutOff())
            if known.due_s > now_s:
                self._again_s = min(self._again_s, known.due_s)
            else:
                raw = dict(zip(fields[::2], fields[1::2], strict=True)).get(b"m", b"")
                taken.append(Waiting(self, entry_id, raw, known.alone))
        return taken

    def look_again(self) -> None:
        """The next read begins at the head."""
        self._again_s = 0.0

    def put_off(self, entry_id: bytes, now_s: float, *, alone: bool = False) -> None:
        """Ask again later, and later each time; `alone` from now on."""
        if len(self._put_off) >= MOST_PUT_OFF:
            self._put_off.clear()
        known = self._put_off.get(entry_id, _PutOff())
        due_s = now_s + min(WAIT_S[0] * 2 ** min(known.times, 10), WAIT_S[1]) * random.uniform(0.5, 1)
        self._put_off[entry_id] = _PutOff(due_s, known.times + 1, known.alone or alone)
        self._again_s = min(self._again_s, due_s)

    def settled(self, entry_id: bytes) -> None:
        """The entry is gone."""
        self._put_off.pop(entry_id, None)
