"""I8: at rest nothing waits, the counters equal a recount, and every entry that came in has its row."""

from collections import Counter

import msgspec

from permits.calendar import day_name, day_start_ms, local_day
from permits.outcomes import NAME_OF
from processor.verification.finding import Finding, Findings
from processor.verification.trail import AuditEntry, Partition

COUNTS_DAYS = 7
"""So long counters stand for certain; they expire after eight days."""


class AtRest(msgspec.Struct, frozen=True):
    """A partition of the store as the check found it."""

    undecided: int
    """Entries on the inbound stream."""
    appended: int | None
    """Entries ever put on the inbound stream; None where the server does not tell."""
    pending: int
    """Entries that a group of ours has read and not acknowledged."""
    unread_replies: bool
    """Whether replies stand that the dispatcher has not read."""
    counts: dict[int, dict[str, int]]
    """Day of decision → counter → value."""


class Accounts:
    """Recounts the trail by day, letter and purpose."""

    def __init__(self, today: int) -> None:
        self._today = today
        self._rest = Findings("I8", "at rest", "nothing is undecided, pending or unread")
        self._counters = Findings("I8", "counters", "the counters equal a recount of the trail")
        self._rows = Findings("I8", "rows", "every entry that came in has one row with a known outcome")
        self._days: dict[int, Counter[tuple[str, int]]] = {}
        self._unanswered: Counter[int] = Counter()
        self.letters: Counter[str] = Counter()
        """Rows of the whole trail by outcome letter."""

    def begin(self) -> None:
        """Another partition: other counters."""
        self._days = {}
        self._unanswered = Counter()

    def feed(self, entry: AuditEntry) -> None:
        """Recount one batch."""
        decided_on = local_day(entry.batch.decided_ms)
        day = self._days.setdefault(decided_on, Counter())
        day.update(zip(entry.letters, (row.purpose for row in entry.batch.rows), strict=True))
        self._unanswered[decided_on] += entry.silent.count("1")

    def end(self, partition: Partition, rest: AtRest) -> None:
        """Judge a partition once all of its trail was fed."""
        where = f"partition {partition.number}"
        self._judge_rest(where, rest)
        rows: Counter[str] = Counter()
        for day in self._days.values():
            for (letter, _), times in day.items():
                rows[letter] += times
        self._judge_rows(where, partition, rest, rows)
        self.letters.update(rows)
        for day in sorted(self._days.keys() | rest.counts.keys()):
            if day_start_ms(day) < partition.known_from_ms:
                self._counters.left_out += 1
            elif day in rest.counts or self._today - day < COUNTS_DAYS:
                self._judge_day(where, day, rest.counts.get(day, {}))

    def _judge_rest(self, where: str, rest: AtRest) -> None:
        self._rest.checked += 1
        if rest.undecided:
            self._rest.violation(f"{where}: {rest.undecided} undecided entries")
        if rest.pending:
            self._rest.violation(f"{where}: {rest.pending} entries read and not acknowledged")
        if rest.unread_replies:
            self._rest.violation(f"{where}: replies that the dispatcher has not read")

    def _judge_rows(self, where: str, partition: Partition, rest: AtRest, rows: Counter[str]) -> None:
        self._rows.checked += rows.total()
        for letter in rows.keys() - NAME_OF.keys():
            self._rows.violation(f"{where}: {rows[letter]} rows with the unknown outcome {letter!r}", rows[letter])
        if rest.appended is None or partition.known_from_ms:
            return
        decided = rest.appended - rest.undecided
        if rows.total() != decided:
            self._rows.violation(f"{where}: {decided} entries came in and went, the trail has {rows.total()} rows")

    def _judge_day(self, where: str, day: int, stored: dict[str, int]) -> None:
        counted = self._days.get(day, Counter[tuple[str, int]]())
        recount = {f"{letter}{purpose}": times for (letter, purpose), times in counted.items()}
        recount["unanswered"] = self._unanswered[day]
        stored = {name: times for name, times in stored.items() if name != "id_reused"}
        for name in sorted(recount.keys() | stored.keys()):
            self._counters.checked += 1
            if recount.get(name, 0) != stored.get(name, 0):
                self._counters.violation(
                    f"{where}, {day_name(day)}, {name}: counted {stored.get(name, 0)}, the trail has "
                    f"{recount.get(name, 0)}"
                )

    def findings(self) -> list[Finding]:
        """All three results."""
        return [self._rest.finding(), self._counters.finding(), self._rows.finding()]
