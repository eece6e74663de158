"""What the operator saw: every send, sorted by partition, in about twenty bytes each.

Reads NDJSON `{"id", "in_reply_to", "verdict", "ambiguous", "at_ms"}`, one line a send.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from permits.codes import ALPHABET, LENGTH
from permits.messages import Verdict
from processor.verification.inputs import read_lines

_ENTRY: Final = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")
_NOTICE: Final = re.compile(f"n[0-9]{{1,16}}-[{ALPHABET}]{{{LENGTH}}}")
_LETTER: Final[dict[Verdict, str]] = {"approved": "a", "refused": "r", "cancelled": "c", "extended": "e"}


class Send(msgspec.Struct, frozen=True, gc=False):
    """One line of the operator's log."""

    id: str
    """Partition tag and inbound entry id; of a notice, tag, `n` and version, and permit code."""
    verdict: Verdict
    ambiguous: bool = False
    at_ms: int = 0


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
        self.notified = 0
        """Sends that are notices."""
        self._notices: dict[str, dict[str, list[Send]]] = {}
        self._lines = {tag: bytearray() for tag in tags}
        for send in sends:
            self.sent += 1
            self.ambiguous += send.ambiguous
            tag, _, entry_id = send.id.partition("-")
            lines = self._lines.get(tag)
            if lines is not None and _ENTRY.fullmatch(entry_id) is not None:
                letter = _LETTER[send.verdict]
                lines += f"{entry_id} {letter.upper() if send.ambiguous else letter}\n".encode()
            elif lines is not None and _NOTICE.fullmatch(entry_id) is not None:
                self.notified += 1
                self._notices.setdefault(tag, {}).setdefault(entry_id, []).append(send)
            else:
                self.strays.append(send.id)

    def of(self, tag: str) -> dict[str, str]:
        """Inbound entry id → its sends in order: `a` approved, `r` refused, `c` cancelled, upper-case where marked
        ambiguous.

        `e` extended is no decision's.
        """
        sends: dict[str, str] = {}
        for line in self._lines[tag].decode().splitlines():
            entry_id, _, letter = line.partition(" ")
            sends[entry_id] = sends.get(entry_id, "") + letter
        return sends

    def notices(self, tag: str) -> dict[str, list[Send]]:
        """Version and code of each notice → its sends in order; few, so they are kept whole."""
        return self._notices.get(tag, {})
