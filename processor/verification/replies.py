"""I5: every decision was answered, knowingly once, with its own verdict; nothing was answered undecided."""

from collections.abc import Collection

from permits.messages import AuditSettled
from permits.outcomes import APPROVED, CANCELLATIONS
from processor.verification.finding import Finding, Findings
from processor.verification.sink_log import SinkLog
from processor.verification.trail import DECIDED, AuditEntry, Partition


class Replies:
    """Holds each decision against the operator's log.

    Of several sends at most one may lack the `ambiguous` mark: it is the first, though a slow network can bring
    it in last.
    """

    def __init__(self, log: SinkLog | None) -> None:
        self._log = log
        self._findings = Findings("I5", "replies", "every decision has its reply, knowingly sent once")
        self._sends: dict[str, str] = {}
        self._decided: set[str] = set()
        self.unsent: list[str] = []
        """Entries of this partition whose reply the operator never saw."""
        if log is None:
            self._findings.not_checked("no --sink")
        else:
            for reply_id in log.strays:
                self._findings.violation(f"reply {reply_id[:64]!r} names no entry of this store")

    def begin(self, partition: Partition) -> None:
        """Another partition: other sends."""
        self._sends = {} if self._log is None else self._log.of(partition.tag)
        self._decided = set()
        self.unsent = []

    def feed(self, partition: Partition, entry: AuditEntry) -> None:
        """Judge the replies of one batch."""
        if self._log is None:
            return
        sends, decided = self._sends, self._decided
        for row, letter, silent in entry.rows:
            if letter not in DECIDED or silent or (row.hold_minutes and letter == APPROVED):
                continue  # what is held is due when it is released
            self._findings.checked += 1
            decided.add(row.entry_id)
            due = "a" if letter == APPROVED else "c" if letter in CANCELLATIONS else "r"
            seen = sends.get(row.entry_id)
            if seen != due:
                self._judge(partition, row.entry_id, seen, due)

    def settle(self, partition: Partition, settled: AuditSettled) -> None:
        """Judge the replies of approvals that were held until now."""
        if self._log is None or settled.became != "released":
            return
        for row in settled.rows:
            self._findings.checked += 1
            self._decided.add(row.entry_id)
            self._judge(partition, row.entry_id, self._sends.get(row.entry_id), "a")

    def _judge(self, partition: Partition, entry_id: str, seen: str | None, due: str) -> None:
        if seen is None:
            self.unsent.append(entry_id)
            return
        reply = f"reply {partition.tag}-{entry_id}"
        if set(seen.lower()) != {due}:
            self._findings.violation(f"{reply}: its verdict differs from the decision, {due!r} is due")
        unmarked = sum(1 for send in seen if send.islower())
        if unmarked > 1:
            self._findings.violation(f"{reply}: sent {len(seen)} times, {unmarked} without the ambiguous mark")

    def end(self, partition: Partition, *, dead: Collection[str], waiting: Collection[str]) -> None:
        """Judge what was never sent, and what was sent undecided; `dead` and `waiting` are reply ids."""
        for entry_id in self.unsent:
            reply_id = f"{partition.tag}-{entry_id}"
            if reply_id in waiting:
                self._findings.violation(f"reply {reply_id}: not at rest, still waits on the reply stream")
            elif reply_id not in dead:
                self._findings.violation(f"reply {reply_id}: decided and never sent")
        for entry_id in sorted(self._sends.keys() - self._decided):
            if int(entry_id.partition("-")[0]) < partition.known_from_ms:
                self._findings.left_out += 1
            else:
                self._findings.violation(f"reply {partition.tag}-{entry_id}: sent without a decision")

    def findings(self) -> list[Finding]:
        """The result."""
        return [self._findings.finding()]
