"""I7: the plain model, replaying the trail, decides alike; and the stored permits are the trail's."""

from typing import Final

from lua.records import ENTRY_BYTES, SENDER_BYTES, entries
from permits.calendar import day_name, local_day
from permits.decision import Model, Outcome, Request
from permits.messages import AuditRow, AuditSettled
from permits.outcomes import APPROVED, DEAD, HELD, MOVED, REFUSALS, WITHDRAWN
from processor.verification.finding import Finding, Findings
from processor.verification.quota import BY_RULES, RulesInForce
from processor.verification.trail import DECIDED, AuditEntry, Partition

_STANDING: Final = frozenset((APPROVED + HELD + WITHDRAWN).encode())
"""Letters of entries that were approved."""
BLOCKED: Final = REFUSALS["blocked"]
SOFT: Final = REFUSALS["abuse_sender"]
"""Judged over all partitions, and answered once an hour there."""


class Letters:
    """Feeds the model row by row. Refusals for form, and what stands on a list, are taken as given."""

    def __init__(self, rules: RulesInForce) -> None:
        self._rules = rules
        self._findings = Findings("I7", "letters", "the plain model, replaying the trail, decides alike")
        self._model = Model()
        self._first: dict[str, tuple[str, AuditRow, str, bool] | None] = {}
        """An owner's only row so far: policy version, row, letter, whether it is taken as given."""

    def begin(self) -> None:
        """Another partition: other owners."""
        self._model = Model()
        self._first = {}

    def feed(self, partition: Partition, entry: AuditEntry) -> None:
        """Replay one batch; before the trail has settled the model only takes note.

        Most owners have one row: with nothing on record its outcome is plain, so the model sees it only once a
        second one comes.
        """
        settled = entry.batch.decided_ms >= partition.settled_from_ms
        first, version = self._first, entry.batch.policy
        for row, letter, silent in entry.rows:
            if letter in (MOVED, DEAD) or not (settled or letter in DECIDED):
                continue
            given = letter in DECIDED and (letter not in BY_RULES or not settled)
            if settled:
                self._findings.checked += 1
            else:
                self._findings.left_out += 1
            if row.owner not in first:
                if not silent and (given or letter == APPROVED):
                    first[row.owner] = (version, row, letter, given)
                    continue
                first[row.owner] = None
            earlier = first[row.owner]
            if earlier is not None:
                first[row.owner] = None
                self._replay(*earlier)
            replayed = self._replay(version, row, letter, given)
            if not settled:
                continue
            where = f"partition {partition.number}, entry {row.entry_id}, sms {row.sms_id!r}, owner {row.owner}"
            if replayed.letter != letter:
                self._findings.violation(f"{where}: the trail says {letter}, the model {replayed.letter}")
            elif letter in DECIDED and replayed.answered == silent and not (silent and letter == SOFT):
                told = "a reply is due" if silent else "no reply is due"
                self._findings.violation(f"{where}: {told} by the model, the trail says otherwise")

    def settle(self, settled: AuditSettled) -> None:
        """What was withdrawn counts for nothing from now on."""
        for row in settled.rows if settled.became == "withdrawn" else ():
            earlier = self._first.get(row.owner)
            if earlier is not None:
                self._first[row.owner] = None
                self._replay(*earlier)
            self._model.withdraw(row.owner, row.digest, row.arrived_ms)

    def _replay(self, version: str, row: AuditRow, letter: str, given: bool) -> Outcome:
        return self._model.decide(
            Request(
                owner=row.owner,
                identity=row.digest,
                purpose=row.purpose,
                asked_ms=row.asked_ms,
                arrived_ms=row.arrived_ms,
                refused=letter if given else None,
                rules=() if given else self._rules.of(version, row) or (),
                by_text=row.by_text,
                sender=row.sender[: 2 * SENDER_BYTES],
                listed=letter == BLOCKED,
                limits=self._rules.limits(version, row),
            )
        )

    def not_checked(self, why: str) -> None:
        """The trail was decided under other rules."""
        self._findings.not_checked(why)

    def findings(self) -> list[Finding]:
        """The result."""
        return [self._findings.finding()]


class Permits:
    """The permits in the day records, as far as those still stand, against the trail's approvals."""

    def __init__(self) -> None:
        self._findings = Findings("I7", "permits", "the stored permits are exactly the trail's approvals")
        self._given: dict[int, set[str]] = {}

    def begin(self) -> None:
        """Another partition: other records."""
        self._given = {}

    def feed(self, entry: AuditEntry) -> None:
        """Note approvals by day of arrival."""
        for row, letter in zip(entry.batch.rows, entry.letters, strict=True):
            if letter == APPROVED:
                given = self._given.setdefault(local_day(row.arrived_ms), set())
                given.add(f"{row.owner}{row.digest}{row.purpose}")

    def settle(self, settled: AuditSettled) -> None:
        """What was withdrawn stands as that."""
        for row in settled.rows if settled.became == "withdrawn" else ():
            given = self._given.setdefault(local_day(row.arrived_ms), set())
            name = f"{row.owner}{row.digest}{row.purpose}"
            given.discard(name)
            given.add(name + WITHDRAWN)

    def record(self, partition: Partition, day: int, field: bytes, value: bytes) -> None:
        """Judge one record; each of its permits takes its approval off the list."""
        if len(value) % ENTRY_BYTES == 0 and _STANDING.isdisjoint(value[ENTRY_BYTES - 1 :: ENTRY_BYTES]):
            return  # most records hold refusals alone
        given = self._given.get(day, set())
        try:
            stored = entries(value)
        except ValueError as error:
            self._findings.violation(f"partition {partition.number}, {day_name(day)}, field {field.hex()}: {error}")
            return
        for permit in stored:
            if permit.refused:
                continue
            owner = field.hex() + permit.tag.hex()
            name = f"{owner}{permit.digest.hex()}{permit.purpose}"
            if permit.letter == WITHDRAWN:
                name += WITHDRAWN
            if name in given:
                given.remove(name)
                self._findings.checked += 1
            elif permit.decided_s * 1000 < partition.known_from_ms:
                self._findings.left_out += 1
            else:
                self._findings.checked += 1
                self._findings.violation(
                    f"partition {partition.number}, {day_name(day)}, owner {owner}, digest {permit.digest.hex()}: "
                    f"a permit under purpose {permit.purpose} that the trail does not know"
                )

    def end(self, partition: Partition, *, standing: set[int], due_from: int) -> None:
        """Judge what no record held; days before `due_from` may have expired."""
        for day, missing in self._given.items():
            if day in standing or day >= due_from:
                self._findings.checked += len(missing)
                for name in sorted(missing):
                    self._findings.violation(
                        f"partition {partition.number}, {day_name(day)}, owner {name[:16]}, digest {name[16:28]}: "
                        f"approved under purpose {name[28:]}, and no record holds the permit"
                    )

    def findings(self) -> list[Finding]:
        """The result."""
        return [self._findings.finding()]
