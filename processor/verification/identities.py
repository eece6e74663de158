"""I2 and I3: one decision an identity, and no entry decided by two lanes."""

from collections.abc import Iterable

from permits.calendar import DAY_MS, local_day
from permits.decision import BY_TEXT_WINDOW_S, DEDUP_DAYS
from permits.messages import AuditRow
from permits.outcomes import DUPLICATE
from processor.verification.finding import Finding, Findings
from processor.verification.trail import DECIDED, AuditEntry, Partition


class Identities:
    """Per owner and digest one decision within the window, and no duplicate without the decision it repeats."""

    def __init__(self) -> None:
        self._once = Findings("I2", "identities", "one decision an SMS within the deduplication window")
        self._repeats = Findings("I2", "duplicates", "every duplicate repeats an earlier decision")
        self._arrivals: dict[str, list[int]] = {}

    def begin(self) -> None:
        """Another partition: other owners."""
        self._arrivals = {}

    def feed(self, partition: Partition, entry: AuditEntry) -> None:
        """Judge rows in the order of decision."""
        arrivals_of = self._arrivals
        for row, letter in zip(entry.batch.rows, entry.letters, strict=True):
            if letter in DECIDED:
                self._once.checked += 1
                arrivals = arrivals_of.get(row.owner + row.digest)
                if arrivals is None:
                    arrivals_of[row.owner + row.digest] = [row.arrived_ms]
                    continue
                if _too_close(row, arrivals):
                    self._once.violation(f"{_place(partition, row)}: decided again, outcome {letter}")
                arrivals.append(row.arrived_ms)
            elif letter == DUPLICATE:
                if _repeats(row, arrivals_of.get(row.owner + row.digest, ())):
                    self._repeats.checked += 1
                elif entry.batch.decided_ms < partition.settled_from_ms:
                    self._repeats.left_out += 1
                else:
                    self._repeats.checked += 1
                    self._repeats.violation(f"{_place(partition, row)}: a duplicate of nothing")

    def findings(self) -> list[Finding]:
        """Both results."""
        return [self._once.finding(), self._repeats.finding()]


class Lanes:
    """One lane at a time: an entry stands in one batch only, and the lease's epoch never goes down."""

    def __init__(self) -> None:
        self._entries = Findings("I3", "entries", "no entry is decided twice")
        self._epochs = Findings("I3", "epochs", "the epoch of a partition's lane never goes down")
        self._seen: set[str] = set()
        self._epoch = 0

    def begin(self) -> None:
        """Another partition: other entries and another lease."""
        self._seen = set()
        self._epoch = 0

    def feed(self, partition: Partition, entry: AuditEntry) -> None:
        """Judge one batch."""
        batch, seen = entry.batch, self._seen
        self._epochs.checked += 1
        if batch.epoch < self._epoch:
            self._epochs.violation(f"partition {partition.number}: epoch {batch.epoch} after {self._epoch}")
        self._epoch = batch.epoch
        self._entries.checked += len(batch.rows)
        for row in batch.rows:
            if row.entry_id in seen:
                self._entries.violation(f"{_place(partition, row)}: stands in the trail twice")
            else:
                seen.add(row.entry_id)

    def findings(self) -> list[Finding]:
        """Both results."""
        return [self._entries.finding(), self._epochs.finding()]


def _too_close(row: AuditRow, arrivals: Iterable[int]) -> bool:
    if row.by_text:
        return any(_same_text(row, arrived_ms) for arrived_ms in arrivals)
    return any(abs(arrived_ms - row.arrived_ms) <= DEDUP_DAYS * DAY_MS for arrived_ms in arrivals)


def _repeats(row: AuditRow, arrivals: Iterable[int]) -> bool:
    if row.by_text:
        return any(_same_text(row, arrived_ms) for arrived_ms in arrivals)
    earliest = local_day(row.arrived_ms) - DEDUP_DAYS
    return any(local_day(arrived_ms) >= earliest for arrived_ms in arrivals)


def _same_text(row: AuditRow, arrived_ms: int) -> bool:
    return abs(arrived_ms // 1000 - row.arrived_ms // 1000) <= BY_TEXT_WINDOW_S


def _place(partition: Partition, row: AuditRow) -> str:
    return f"partition {partition.number}, entry {row.entry_id}, sms {row.sms_id!r}, owner {row.owner}"
