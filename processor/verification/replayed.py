"""I7: the plain model, replaying the trail, decides alike; and the stored permits are the trail's."""

from typing import Final

import msgspec

from lua.records import ENTRY_BYTES, SENDER_BYTES, entries
from permits.calendar import day_name, local_day
from permits.decision import Model, Name, Outcome, Request
from permits.messages import AuditRow, AuditSettled, Cancellation, SettledApproval
from permits.outcomes import ABOUT_CANCELLING, APPROVED, CANCELLED, DEAD, ENDED, GRANTED, MOVED, REFUSALS, WITHDRAWN
from processor.verification.finding import Finding, Findings
from processor.verification.quota import BY_RULES, RulesInForce
from processor.verification.trail import DECIDED, AuditEntry, Partition

_STANDING: Final = frozenset("".join(GRANTED).encode())
"""Letters of entries that were approved."""
BLOCKED: Final = REFUSALS["blocked"]
SOFT: Final = REFUSALS["abuse_sender"]
"""Judged over all partitions, and answered once an hour there."""


class _Seen(msgspec.Struct, frozen=True, gc=False):
    """One row of the trail."""

    version: str
    """Of the policy."""
    row: AuditRow
    letter: str
    given: bool
    """Whether its letter is taken as it is."""
    decided_ms: int
    told: Cancellation | None = None
    """Of an SMS with the cancel word."""
    released_s: int = 0
    """When its approval, which was held, was told."""

    @property
    def cancelled(self) -> Name | None:
        """The permit that it has cancelled."""
        permit = None if self.told is None else self.told.permit
        return None if permit is None else (permit.digest, permit.arrived_s)


class Letters:
    """Feeds the model row by row. Refusals for form, and what stands on a list, are taken as given."""

    def __init__(self, rules: RulesInForce) -> None:
        self._rules = rules
        self._findings = Findings("I7", "letters", "the plain model, replaying the trail, decides alike")
        self._model = Model()
        self._first: dict[str, _Seen | None] = {}
        """An owner's only row so far."""

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
        first, version, decided_ms = self._first, entry.batch.policy, entry.batch.decided_ms
        cancellations = iter(entry.cancellations)
        for row, letter, silent in entry.rows:
            told = next(cancellations, None) if letter in ABOUT_CANCELLING else None
            if letter in (MOVED, DEAD) or not (settled or letter in DECIDED):
                continue
            given = letter in DECIDED and (letter not in BY_RULES or not settled)
            if settled:
                self._findings.checked += 1
            else:
                self._findings.left_out += 1
            seen = _Seen(version, row, letter, given, decided_ms, told)
            if row.owner not in first:
                if not silent and (given or letter == APPROVED):
                    first[row.owner] = seen
                    continue
                first[row.owner] = None
            self._replay_first(row.owner)
            replayed = self._replay(seen)
            if not settled:
                continue
            where = f"partition {partition.number}, entry {row.entry_id}, sms {row.sms_id!r}, owner {row.owner}"
            if replayed.letter != letter:
                self._findings.violation(f"{where}: the trail says {letter}, the model {replayed.letter}")
            elif letter in DECIDED and replayed.answered == silent and not (silent and letter == SOFT):
                due = "a reply is due" if silent else "no reply is due"
                self._findings.violation(f"{where}: {due} by the model, the trail says otherwise")
            elif not given and replayed.cancelled != seen.cancelled:
                self._findings.violation(
                    f"{where}: the trail says that it cancelled {seen.cancelled}, the model {replayed.cancelled}"
                )

    def settle(self, settled: AuditSettled) -> None:
        """What was told begins then; what was withdrawn counts for nothing from now on."""
        at_s = settled.at_ms // 1000
        for row in settled.rows:
            earlier = self._first.get(row.owner)
            if settled.became == "withdrawn":
                self._replay_first(row.owner)
                self._model.withdraw(row.owner, _permit(row))
            elif earlier is None:
                self._model.release(row.owner, _permit(row), at_s)
            elif _permit(earlier.row) == _permit(row):
                self._first[row.owner] = msgspec.structs.replace(earlier, released_s=at_s)

    def _replay_first(self, owner: str) -> None:
        """Show the model the row that it was spared."""
        earlier = self._first.get(owner)
        if earlier is not None:
            self._first[owner] = None
            self._replay(earlier)

    def _replay(self, seen: _Seen) -> Outcome:
        version, row, given = seen.version, seen.row, seen.given
        outcome = self._model.decide(
            Request(
                owner=row.owner,
                identity=row.digest,
                purpose=row.purpose,
                asked_ms=row.asked_ms,
                arrived_ms=row.arrived_ms,
                refused=seen.letter if given else None,
                rules=() if given else self._rules.of(version, row) or (),
                by_text=row.by_text,
                sender=row.sender[: 2 * SENDER_BYTES],
                listed=seen.letter == BLOCKED,
                limits=self._rules.limits(version, row),
                decided_ms=seen.decided_ms,
                minutes=self._rules.minutes(version, row),
                hold_minutes=row.hold_minutes,
                cancel=self._rules.cancel(version, row, seen.decided_ms, seen.told)
                if seen.told and not given
                else None,
            )
        )
        if given and seen.cancelled is not None:
            self._model.cancel(row.owner, seen.cancelled)
        if seen.released_s:
            self._model.release(row.owner, _permit(row), seen.released_s)
        return outcome

    def not_checked(self, why: str) -> None:
        """The trail was decided under other rules."""
        self._findings.not_checked(why)

    def findings(self) -> list[Finding]:
        """The result."""
        return [self._findings.finding()]


def _permit(row: AuditRow | SettledApproval) -> Name:
    return row.digest, row.arrived_ms // 1000


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
                given.add(_name(row.owner, row.digest, row.arrived_ms // 1000, row.purpose))
        for told in entry.cancellations:
            if told.permit is not None:
                became = ENDED if entry.letters[told.row] == CANCELLED else WITHDRAWN
                permit = told.permit
                owner = entry.batch.rows[told.row].owner
                self._became(became, owner, permit.digest, permit.arrived_s, permit.purpose)

    def settle(self, settled: AuditSettled) -> None:
        """What was withdrawn stands as that."""
        for row in settled.rows if settled.became == "withdrawn" else ():
            self._became(WITHDRAWN, row.owner, row.digest, row.arrived_ms // 1000, row.purpose)

    def _became(self, letter: str, owner: str, digest: str, arrived_s: int, purpose: int) -> None:
        given = self._given.setdefault(local_day(arrived_s * 1000), set())
        name = _name(owner, digest, arrived_s, purpose)
        given.discard(name)
        given.add(name + letter)

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
            if not permit.granted:
                continue
            owner = field.hex() + permit.tag.hex()
            name = _name(owner, permit.digest.hex(), permit.arrived_s, permit.purpose)
            if permit.letter in (WITHDRAWN, ENDED):
                name += permit.letter
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
                        f"approved under purpose {name[38:]}, and no record holds the permit"
                    )

    def findings(self) -> list[Finding]:
        """The result."""
        return [self._findings.finding()]


def _name(owner: str, digest: str, arrived_s: int, purpose: int) -> str:
    """One permit; two may share the digest of a text that came again."""
    return f"{owner}{digest}{arrived_s:010}{purpose}"
