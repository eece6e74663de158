"""I4: per document, Baku day and purpose, no more permits than the rules in force allowed."""

from collections.abc import Mapping
from struct import Struct
from typing import Final

from permits.calendar import day_name, day_start_ms, local_day
from permits.decision import Cancel
from permits.messages import AuditRow, AuditSettled, Cancellation
from permits.outcomes import ABOUT_CANCELLING, APPROVED, CANCELLED_HELD, REFUSALS
from permits.policy import Policy
from permits.regimes import Limits, Regime, Rule
from processor.verification.finding import Finding, Findings
from processor.verification.journal import BUCKETS
from processor.verification.trail import AuditEntry, Partition

_OWNER: Final = Struct("<16sH")
"""Owner as text, partition."""


BY_RULES: Final = ABOUT_CANCELLING | {
    APPROVED,
    *(REFUSALS[reason] for reason in ("quota", "abuse_document", "blocked")),
}
"""What rules, limits, lists and earlier decisions can answer; every other decision comes from the form."""


class RulesInForce:
    """The rules of all policy versions by moment and purpose, looked up millions of times."""

    def __init__(self, policies: Mapping[str, Policy]) -> None:
        self._policies = policies
        self._known: dict[tuple[int, int], tuple[Rule, ...] | None] = {}

    def of(self, version: str, row: AuditRow) -> tuple[Rule, ...] | None:
        """The rules that a row had to pass under a version; None where it had no such purpose."""
        regime = self._regime(version, row)
        key = (id(regime), row.purpose)
        if key not in self._known:
            named = regime.purpose(row.purpose)
            self._known[key] = None if named is None else regime.rules_of(named)
        return self._known[key]

    def limits(self, version: str, row: AuditRow) -> Limits:
        """The limits against abuse that were in force for a row under a version."""
        return self._regime(version, row).limits

    def minutes(self, version: str, row: AuditRow) -> int:
        """How long the permit of a row runs; 0: no end."""
        purpose = self._regime(version, row).purpose(row.purpose)
        return 0 if purpose is None else purpose.minutes or 0

    def cancel(self, version: str, row: AuditRow, decided_ms: int, told: Cancellation) -> Cancel:
        """What a row with the cancel word could cancel; which permits were not its to cancel is taken as told."""
        policy = self._policies[version]
        oldest = local_day(decided_ms) - policy.keep_days
        return Cancel(
            arrived_since_s=day_start_ms(oldest) // 1000,
            endless_since_s=policy.endless_since_ms(row.purpose or None, decided_ms) // 1000,
            passed_over=told.passed_over,
        )

    def _regime(self, version: str, row: AuditRow) -> Regime:
        return self._policies[version].at(min(row.asked_ms, row.arrived_ms))


class Quota:
    """Counts permits as they were given; each must have been within the rules at its moment."""

    def __init__(self, rules: RulesInForce) -> None:
        self._rules = rules
        self._findings = Findings("I4", "quota", "no document has more permits a day than the rules allow")
        self._held: dict[str, list[tuple[int, int]]] = {}

    def begin(self) -> None:
        """Another partition: other owners."""
        self._held = {}

    def feed(self, partition: Partition, entry: AuditEntry) -> None:
        """Judge approvals in the order of decision."""
        given_back = {
            told.row: told.permit for told in entry.cancellations if entry.letters[told.row] == CANCELLED_HELD
        }
        for at, (row, letter) in enumerate(zip(entry.batch.rows, entry.letters, strict=True)):
            if letter != APPROVED:
                if given_back and (permit := given_back.get(at)) is not None:
                    self._give_back(row.owner, permit.day, permit.purpose)
                continue
            self._findings.checked += 1
            day = local_day(row.asked_ms)
            held = self._held.setdefault(row.owner, [])
            rules = self._rules.of(entry.batch.policy, row)
            where = f"partition {partition.number}, entry {row.entry_id}, owner {row.owner}"
            if rules is None:
                self._findings.violation(f"{where}: approved under purpose {row.purpose}, which was not in force")
            for rule in rules or ():
                count = sum(1 for on, purpose in held if on == day and purpose in rule.purposes)
                if count >= rule.limit:
                    self._findings.violation(
                        f"{where}: permit {count + 1} of {rule.limit} on {day_name(day)} under purpose {row.purpose}"
                    )
            held.append((day, row.purpose))

    def settle(self, settled: AuditSettled) -> None:
        """Give permits back that were cancelled while they were held."""
        for row in settled.rows if settled.became == "withdrawn" else ():
            self._give_back(row.owner, local_day(row.asked_ms), row.purpose)

    def _give_back(self, owner: str, day: int, purpose: int) -> None:
        if (day, purpose) in self._held.get(owner, ()):
            self._held[owner].remove((day, purpose))

    def not_checked(self, why: str) -> None:
        """The trail was decided under other rules."""
        self._findings.not_checked(why)

    def findings(self) -> list[Finding]:
        """The result."""
        return [self._findings.finding()]


class Owners:
    """An owner's permits all stand in one partition: else each would count its quota apart."""

    def __init__(self) -> None:
        self._buckets = [bytearray() for _ in range(BUCKETS)]
        self._findings = Findings("I4", "owners", "the permits of a document are given in one partition")

    def feed(self, partition: Partition, entry: AuditEntry) -> None:
        """Note where each owner's permits were given."""
        buckets, pack, number = self._buckets, _OWNER.pack, partition.number
        for row, letter in zip(entry.batch.rows, entry.letters, strict=True):
            if letter == APPROVED:
                buckets[hash(row.owner) % BUCKETS] += pack(row.owner.encode(), number)

    def findings(self) -> list[Finding]:
        """Compare, one bucket at a time."""
        for bucket in self._buckets:
            home: dict[bytes, int] = {}
            for owner, number in _OWNER.iter_unpack(bucket):
                self._findings.checked += 1
                if home.setdefault(owner, number) != number:
                    self._findings.violation(
                        f"owner {owner.decode()}: permits in partitions {home[owner]} and {number}"
                    )
        return [self._findings.finding()]
