"""Archives of decisions for tests: rows as they are thought of, and the folder they are stored in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from permits import policy as policies
from permits.calendar import day_number, day_start_ms
from permits.messages import ENCODER, AuditBatch, AuditRow, Cancellation
from permits.policy import Policy
from processor.archive import segments

NOON_MS: Final = day_start_ms(day_number("20260310")) + 43_200_000
RULES: Final = """
[documents]
[[documents.series]]
name = "ID card"
prefix = "AZE"
digits = [7]

[lists]
infected = 1

[[regimes]]
name = "r"
from = 2026-01-01T00:00:00
limits = { senders_per_document = 2, refusals_answered_per_hour = 1 }
barred = [{ list = "infected" }]

[[regimes.purposes]]
code = 2
names = { az = "x", ru = "x", en = "food" }
minutes = 180
per_day = 1
"""


def rules(text: str = RULES, *, name: str = "rules") -> Policy:
    """A policy."""
    return policies.parse(text.encode(), Path(f"{name}.toml"))


def row(owner: str = "a", *, code: int = 2, at_ms: int = NOON_MS, phone: str = "1111", fault: str = "") -> AuditRow:
    """A decision's static fields under `RULES`."""
    known = 2 if code == 2 else 0
    where = ("7-0", "sms", "dev", known, owner, "d" * 12, at_ms, at_ms, False)
    return AuditRow(*where, code, "" if fault else "AZE9999999", fault, phone)


class Archive:
    """One partition's trail in a folder."""

    def __init__(self, folder: Path, *, tag: str = "00th", number: int = 1) -> None:
        self.folder = folder
        self._tag = tag
        self._number = number
        """Of the first member."""
        self._lines: list[bytes] = []
        self._first_ms = 0

    def add(
        self,
        letters: str,
        rows: Sequence[AuditRow],
        *,
        version: str,
        at_ms: int = NOON_MS,
        silent: str = "",
        told: Sequence[Cancellation] = (),
    ) -> "Archive":
        """One batch, decided and stored at a moment."""
        audit = AuditBatch(partition=0, epoch=1, policy=version, decided_ms=at_ms, rows=list(rows))
        fields = [b"m", ENCODER.encode(audit), b"v", letters.encode(), *([b"w", silent.encode()] if silent else [])]
        return self.put([*fields, *([b"c", ENCODER.encode(told)] if told else [])], at_ms=at_ms)

    def put(self, fields: Sequence[bytes], *, at_ms: int = NOON_MS) -> "Archive":
        """An entry as it is."""
        self._first_ms = self._first_ms or at_ms
        self._lines.append(segments.entry_line(b"%d-%d" % (at_ms, len(self._lines)), fields))
        return self

    def store(self) -> Path:
        """Write the segment: its path."""
        path = self.folder / self._tag / "audit" / segments.segment_name(f"{self._first_ms}-0", "1")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(segments.member(self._number, segments.origin(self._tag, "audit"), self._lines)[0])
        return path
