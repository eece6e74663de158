"""I8, for dead letters: each entry that ended so stands among them, or was put back or dropped by somebody."""

import msgspec

from permits.outcomes import DEAD
from processor.verification.finding import Finding, Findings
from processor.verification.trail import AuditEntry, Partition


class DeadLetters(msgspec.Struct, frozen=True):
    """A partition's dead letters as the check found them."""

    added: int
    """Ever, of all kinds."""
    standing: int
    inbound: int
    """Of those that stand, SMS."""
    acted: int
    """Put back or dropped, by their acts."""
    inbound_acted: int


class Buried:
    """Counts rows that ended as dead letters."""

    def __init__(self) -> None:
        self._findings = Findings("I8", "dead letters", "every dead entry stands as a letter, was put back or dropped")
        self.rows = 0

    def begin(self) -> None:
        """Another partition."""
        self.rows = 0

    def feed(self, entry: AuditEntry) -> None:
        """Count one batch."""
        self.rows += entry.letters.count(DEAD)

    def end(self, partition: Partition, found: DeadLetters | None) -> None:
        """Judge a partition; letters that age has taken leave nothing to compare."""
        if found is None:
            return
        if partition.known_from_ms or found.added > found.standing + found.acted:
            self._findings.left_out += self.rows
            return
        self._findings.checked += self.rows
        told = found.inbound + found.inbound_acted
        if self.rows != told:
            self._findings.violation(
                f"partition {partition.number}: {self.rows} entries ended as dead letters, {found.inbound} stand and "
                f"{found.inbound_acted} were put back or dropped",
                abs(self.rows - told),
            )

    def findings(self) -> list[Finding]:
        """The result."""
        return [self._findings.finding()]
