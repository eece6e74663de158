"""What the operator saw: every send, sorted by partition, in about twenty bytes each.

Reads NDJSON `{"id", "in_reply_to", "verdict", "ambiguous", "at_ms"}`, one line a send.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec

from processor.verification.inputs import read_lines

_ENTRY: Final = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")
_LETTER: Final = {("approved", False): "a", ("refused", False): "r", ("approved", True): "A", ("refused", True): "R"}


class Send(msgspec.Struct, frozen=True, gc=False):
    """One line of the operator's log."""

    id: str
    """Partition tag and inbound entry id."""
    verdict: Literal["approved", "refused"]
    ambiguous: bool = False


def read_sink_log(path: Path) -> Iterator[Send]:
    """All sends in the order in which the operator took them."""
    return read_lines(path, Send)


class SinkLog:
    """All sends, to be asked for by partition."""

    def __init__(self, sends: Iterable[Send], tags: Iterable[str]) -> None:
        self.sent = 0
        self.ambiguous = 0
        self.strays: list[str] = []
        """Reply ids that name no partition and entry of this store."""
        self._lines = {tag: bytearray() for tag in tags}
        for send in sends:
            self.sent += 1
            self.ambiguous += send.ambiguous
            tag, _, entry_id = send.id.partition("-")
            lines = self._lines.get(tag)
            if lines is None or _ENTRY.fullmatch(entry_id) is None:
                self.strays.append(send.id)
            else:
                lines += f"{entry_id} {_LETTER[send.verdict, send.ambiguous]}\n".encode()

    def of(self, tag: str) -> dict[str, str]:
        """Inbound entry id → its sends in order: `a` approved, `r` refused, upper-case where marked ambiguous."""
        sends: dict[str, str] = {}
        for line in self._lines[tag].decode().splitlines():
            entry_id, _, letter = line.partition(" ")
            sends[entry_id] = sends.get(entry_id, "") + letter
        return sends
