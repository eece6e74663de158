"""I5, for approvals that were held back: each told once and not before its time, withdrawn, or still waiting."""

from collections.abc import Collection, Mapping
from typing import Final

from permits.messages import AuditRow, AuditSettled, CancelledPermit
from permits.outcomes import APPROVED, CANCELLED_HELD
from processor.verification.finding import Finding, Findings
from processor.verification.trail import AuditEntry, Partition

OVERDUE_MS: Final = 60_000
"""So long after its time an approval that still waits has been forgotten, not put off."""


class Holds:
    """Follows each held approval of a partition from its decision to its end."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms
        self._findings = Findings("I5", "holds", "every held approval is told at its time and once, or withdrawn")
        self._due: dict[str, int] = {}
        """Moment of release, ms, by entry, of those whose end the trail has not told."""
        self._entry_of: dict[tuple[str, str, int], str] = {}
        """Entries by owner, digest and arrival, s: by these an SMS names what it cancels."""

    @property
    def unsettled(self) -> bool:
        """Whether some have no end in the trail."""
        return bool(self._due)

    def begin(self) -> None:
        """Another partition: other entries."""
        self._due = {}
        self._entry_of = {}

    def feed(self, partition: Partition, entry: AuditEntry) -> None:
        """Note what is held, and judge what was cancelled meanwhile."""
        cancelled = {told.row: told.permit for told in entry.cancellations if entry.letters[told.row] == CANCELLED_HELD}
        for at, (row, letter) in enumerate(zip(entry.batch.rows, entry.letters, strict=True)):
            if row.hold_minutes and letter == APPROVED:
                self._due[row.entry_id] = entry.batch.decided_ms + row.hold_minutes * 60_000
                self._entry_of[row.owner, row.digest, row.arrived_ms // 1000] = row.entry_id
            elif cancelled and (permit := cancelled.get(at)) is not None:
                self._cancel(partition, row, permit)

    def _cancel(self, partition: Partition, row: AuditRow, permit: CancelledPermit) -> None:
        entry_id = self._entry_of.pop((row.owner, permit.digest, permit.arrived_s), "")
        if not entry_id and permit.arrived_s * 1000 < partition.known_from_ms:
            self._findings.left_out += 1
            return
        self._findings.checked += 1
        if self._due.pop(entry_id, None) is None:
            where = f"partition {partition.number}, entry {row.entry_id}"
            self._findings.violation(f"{where}: cancelled an approval that was not held, or had its end before")

    def settle(self, partition: Partition, settled: AuditSettled) -> None:
        """Judge the ends of some."""
        for row in settled.rows:
            due_ms = self._due.pop(row.entry_id, None)
            self._entry_of.pop((row.owner, row.digest, row.arrived_ms // 1000), None)
            where = f"partition {partition.number}, entry {row.entry_id}"
            if due_ms is None and int(row.entry_id.partition("-")[0]) < partition.known_from_ms:
                self._findings.left_out += 1
                continue
            self._findings.checked += 1
            if due_ms is None:
                self._findings.violation(f"{where}: {settled.became}, and was not held, or had its end before")
            elif settled.became == "released" and settled.at_ms < due_ms:
                self._findings.violation(f"{where}: told {due_ms - settled.at_ms} ms before its time")

    def end(self, partition: Partition, *, held: Mapping[str, float], dead: Collection[str]) -> None:
        """Judge those without an end; `held` says until when each waits, `dead` are ids of replies."""
        for entry_id, due_ms in self._due.items():
            self._findings.checked += 1
            where = f"partition {partition.number}, entry {entry_id}"
            if entry_id in held:
                if self._now_ms - due_ms > OVERDUE_MS:
                    self._findings.violation(f"{where}: due {(self._now_ms - due_ms) // 1000} s ago, and still held")
            elif f"{partition.tag}-{entry_id}" not in dead:
                self._findings.violation(f"{where}: approved and held, and neither told, withdrawn nor waiting")

    def findings(self) -> list[Finding]:
        """The result."""
        return [self._findings.finding()]
