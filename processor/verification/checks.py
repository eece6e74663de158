"""All checks side by side: each batch of the trail is shown to every one of them, partition by partition."""

import types
from collections.abc import Collection, Mapping

from permits.calendar import local_day
from permits.messages import AuditSettled
from permits.outcomes import APPROVED, CANCELLATIONS, DEAD, DUPLICATE, MOVED, REASON_OF, SHED
from permits.policy import Policy
from processor.verification.accounts import Accounts, AtRest
from processor.verification.buried import Buried, DeadLetters
from processor.verification.finding import Finding
from processor.verification.holds import Holds
from processor.verification.identities import Identities, Lanes
from processor.verification.journal import Journal
from processor.verification.loss import Loss, OnePlace
from processor.verification.notices import Notices
from processor.verification.quota import Owners, Quota, RulesInForce
from processor.verification.replayed import Letters, Permits
from processor.verification.replies import Replies
from processor.verification.report import Totals
from processor.verification.sink_log import SinkLog
from processor.verification.trail import AuditEntry, Partition


class Checks:
    """For each partition: `begin`, `feed` in order, `record` for each day record, `end`; then `findings`."""

    def __init__(
        self, *, policies: Mapping[str, Policy], journal: Journal | None, sink_log: SinkLog | None, now_ms: int
    ) -> None:
        rules = RulesInForce(policies)
        self._policies = policies
        today = self._today = local_day(now_ms)
        self._other_policies: set[str] = set()
        self._loss = Loss(journal)
        self._one_place = OnePlace()
        self._identities = Identities()
        self._lanes = Lanes()
        self._quota = Quota(rules)
        self._owners = Owners()
        self._replies = Replies(sink_log)
        self._notices = Notices(sink_log)
        self._holds = Holds(now_ms)
        self._letters = Letters(rules)
        self._permits = Permits()
        self._accounts = Accounts(today)
        self._buried = Buried()
        self._partition = Partition(0, "")

    def begin(self, partition: Partition) -> None:
        """Forget the partition before: owners, entries and replies are never shared."""
        self._partition = partition
        self._replies.begin(partition)
        self._notices.begin(partition)
        owned = (self._identities, self._lanes, self._quota, self._letters, self._permits, self._accounts, self._holds)
        owned += (self._buried,)
        for check in owned:
            check.begin()

    def feed(self, entry: AuditEntry) -> None:
        """Show one batch to every check."""
        partition = self._partition
        self._loss.feed(partition, entry)
        self._one_place.feed(partition, entry)
        self._identities.feed(partition, entry)
        self._lanes.feed(partition, entry)
        self._owners.feed(partition, entry)
        self._replies.feed(partition, entry)
        self._permits.feed(entry)
        self._holds.feed(partition, entry)
        self._accounts.feed(entry)
        self._buried.feed(entry)
        if entry.batch.policy not in self._policies:
            self._other_policies.add(entry.batch.policy)
        if not self._other_policies:
            self._quota.feed(partition, entry)
            self._letters.feed(partition, entry)

    def settle(self, settled: AuditSettled) -> None:
        """Show what became of approvals that were held."""
        self._holds.settle(self._partition, settled)
        self._replies.settle(self._partition, settled)
        self._permits.settle(settled)
        self._quota.settle(settled)
        self._letters.settle(settled)

    @property
    def unsettled(self) -> bool:
        """Whether held approvals of this partition have no end in the trail: then `end` needs those that wait."""
        return self._holds.unsettled

    def record(self, day: int, field: bytes, value: bytes) -> None:
        """Show one owner's record of a day of arrival."""
        self._permits.record(self._partition, day, field, value)

    @property
    def notified(self) -> bool:
        """Whether notices of this partition were sent: then `end` needs its acts."""
        return self._notices.sent

    def act(self, code: str, deed: str) -> None:
        """Show one act on a permit."""
        self._notices.act(code, deed)

    @property
    def buried(self) -> bool:
        """Whether entries of this partition ended as dead letters: then `end` needs those that stand."""
        return bool(self._buried.rows)

    @property
    def unsent(self) -> bool:
        """Whether decisions of this partition lack a reply: then `end` needs the dead and the waiting ones."""
        return bool(self._replies.unsent)

    def end(
        self,
        rest: AtRest,
        *,
        record_days: set[int],
        acts_from_ms: int = 0,
        dead: Collection[str] = (),
        waiting: Collection[str] = (),
        held: Mapping[str, float] = types.MappingProxyType({}),
        letters: DeadLetters | None = None,
    ) -> None:
        """Close the partition."""
        self._buried.end(self._partition, letters)
        self._accounts.end(self._partition, rest)
        self._replies.end(self._partition, dead=dead, waiting=waiting)
        self._notices.end(self._partition, acts_from_ms)
        self._holds.end(self._partition, held=held, dead=dead)
        keep_days = min(policy.keep_days for policy in self._policies.values())
        self._permits.end(self._partition, standing=record_days, due_from=self._today - keep_days + 1)

    @property
    def approved(self) -> int:
        """Permits in the trail."""
        return self._accounts.letters[APPROVED]

    @property
    def refused(self) -> dict[str, int]:
        """Refusals in the trail by reason."""
        letters = self._accounts.letters
        return {reason: letters[letter] for letter, reason in REASON_OF.items() if letters[letter]}

    @property
    def totals(self) -> Totals:
        """Rows in the trail by what became of them."""
        letters, refused = self._accounts.letters, sum(self.refused.values())
        cancelled = sum(letters[letter] for letter in CANCELLATIONS)
        return Totals(
            decided=self.approved + refused + cancelled,
            approved=self.approved,
            refused=refused,
            cancelled=cancelled,
            dead=letters[DEAD],
            duplicate=letters[DUPLICATE],
            shed=letters[SHED],
            moved=letters[MOVED],
        )

    @property
    def rows(self) -> int:
        """Rows in the trail."""
        return self._accounts.letters.total()

    def findings(self) -> list[Finding]:
        """One result a check, by invariant."""
        if self._other_policies:
            why = f"the trail was decided under policy {', '.join(sorted(self._other_policies))}"
            known = ", ".join(self._policies)
            self._quota.not_checked(f"{why}; known are {known}")
            self._letters.not_checked(f"{why}; known are {known}")
        checks = (
            self._loss,
            self._one_place,
            self._identities,
            self._lanes,
            self._quota,
            self._owners,
            self._replies,
            self._notices,
            self._holds,
            self._letters,
            self._permits,
            self._accounts,
            self._buried,
        )
        return [finding for check in checks for finding in check.findings()]
