"""The checker of the promises, itself checked: a clean trail passes, and each planted fault is noticed by its name."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import pytest

from lua.records import ENTRY_BYTES, timing
from permits import policy
from permits.calendar import DAY_MS, day_number, day_start_ms, local_day
from permits.messages import (
    AuditBatch,
    AuditRow,
    AuditSettled,
    Cancellation,
    CancelledPermit,
    SettledApproval,
    Verdict,
)
from processor.verification.accounts import AtRest
from processor.verification.buried import DeadLetters
from processor.verification.checks import Checks
from processor.verification.finding import EXAMPLES, Finding
from processor.verification.inputs import UnusableInputError
from processor.verification.journal import Journal, JournalLine, read_journal
from processor.verification.report import Totals
from processor.verification.sink_log import Send, SinkLog, read_sink_log
from processor.verification.trail import DECIDED, AuditEntry, Partition
from tests.day_records import static_struct

POLICY = policy.load()
TODAY = day_number("20260102")
NOON_MS = day_start_ms(TODAY) + DAY_MS // 2
TAGS = ("0a", "1b")
CODE, EXTENDED = "23456789AB", "ABCDEFGHJK"
NOTICE = Send(f"0a-n2-{CODE}", "cancelled", at_ms=NOON_MS)
ANNA, BORIS, CAVID = "00000000000000aa", "00000000000000bb", "00000000000000cc"


def row(
    entry: int,
    sms: str,
    *,
    owner: str = ANNA,
    purpose: int = 2,
    at_ms: int = NOON_MS,
    words: str = "",
    by_text: bool = False,
    sender: str = "0000000000000001",
    hold_minutes: int = 0,
) -> AuditRow:
    """One SMS that was asked for when it arrived; `words` make another SMS of a reused id."""
    return AuditRow(
        entry_id=f"{at_ms}-{entry}",
        sms_id=sms,
        source="dev",
        purpose=purpose,
        owner=owner,
        digest=hashlib.blake2b((sms + words).encode(), digest_size=6).hexdigest(),
        asked_ms=at_ms,
        arrived_ms=at_ms,
        by_text=by_text,
        asked=purpose,
        shape="AZE9999999",
        fault="",
        sender=sender,
        hold_minutes=hold_minutes,
    )


def batch(
    letters: str,
    *rows: AuditRow,
    epoch: int = 1,
    at_ms: int = NOON_MS,
    version: str = "",
    silent: str = "",
    told: Sequence[Cancellation] = (),
) -> AuditEntry:
    decided = AuditBatch(
        partition=0, epoch=epoch, policy=version or POLICY.version, decided_ms=at_ms + 1000, rows=list(rows)
    )
    return AuditEntry(decided, letters, silent, told)


@dataclass
class World:
    """A store at rest with its journal and sink log, all derived from the trail until a test plants a fault."""

    trail: Sequence[Sequence[AuditEntry | AuditSettled]]
    known_from_ms: int = 0
    with_journal: bool = True
    with_sink: bool = True
    journal: list[JournalLine] = field(default_factory=list[JournalLine])
    sends: list[Send] = field(default_factory=list[Send])
    records: list[dict[tuple[int, bytes], bytes]] = field(default_factory=list[dict[tuple[int, bytes], bytes]])
    rest: list[AtRest] = field(default_factory=list[AtRest])
    dead: set[str] = field(default_factory=set[str])
    waiting: set[str] = field(default_factory=set[str])
    acts: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """What officers did to permits of the first partition."""
    acts_from_ms: int = 0
    held: dict[str, float] = field(default_factory=dict[str, float])
    letters: DeadLetters | None = None
    """Of the first partition; None: as many as its trail tells."""
    now_ms: int = NOON_MS + 3_600_000

    def __post_init__(self) -> None:
        for tag, entries in zip(TAGS, self.trail, strict=True):
            counts: dict[int, Counter[str]] = {}
            stored: dict[tuple[int, bytes], bytes] = {}
            for entry in entries:
                if isinstance(entry, AuditSettled):
                    self.settled(tag, entry, stored)
                    continue
                day = counts.setdefault(local_day(entry.batch.decided_ms), Counter())
                if entry.silent:
                    day["unanswered"] += entry.silent.count("1")
                for r, letter, silent in entry.rows:
                    day[f"{letter}{r.purpose}"] += 1
                    if letter != "M":
                        self.journal.append(JournalLine(r.sms_id, acked_ms=r.arrived_ms))
                    if letter in DECIDED:
                        verdict: Verdict = "approved" if letter == "a" else "cancelled" if letter in "cy" else "refused"
                        held = letter == "a" and r.hold_minutes > 0
                        self.sends += [] if silent or held else [Send(f"{tag}-{r.entry_id}", verdict)]
                        key = (local_day(r.arrived_ms), bytes.fromhex(r.owner)[:4])
                        stored[key] = stored.get(key, b"") + stored_entry(r, "w" if held else letter)
                for told in entry.cancellations:
                    if told.permit is not None:
                        letter = {"c": "e", "y": "v"}[entry.letters[told.row]]
                        self.became(stored, entry.batch.rows[told.row].owner, told.permit.digest, letter)
            self.records.append(stored)
            rows = sum(len(entry.letters) for entry in entries if isinstance(entry, AuditEntry))
            plain_counts = {day: dict(counted) for day, counted in counts.items()}
            self.rest.append(AtRest(undecided=0, appended=rows, pending=0, unread_replies=False, counts=plain_counts))
        self.acts += [(CODE, "check"), (CODE, "cancel"), (EXTENDED, "extend")]
        self.sends += [NOTICE, Send(f"0a-n1-{EXTENDED}", "extended", at_ms=NOON_MS)]

    def settled(self, tag: str, entry: AuditSettled, stored: dict[tuple[int, bytes], bytes]) -> None:
        """The sends and the records of approvals that are held no more."""
        letter = {"released": "a", "withdrawn": "v"}[entry.became]
        for r in entry.rows:
            if entry.became == "released":
                self.sends.append(Send(f"{tag}-{r.entry_id}", "approved"))
            self.became(stored, r.owner, r.digest, letter)

    @staticmethod
    def became(stored: dict[tuple[int, bytes], bytes], owner: str, digest: str, letter: str) -> None:
        """The letter of one entry, told anew."""
        for (day, name), record in stored.items():
            at = record.find(bytes.fromhex(owner)[4:] + bytes.fromhex(digest))
            if name == bytes.fromhex(owner)[:4] and at >= 0:
                end = at + ENTRY_BYTES
                stored[day, name] = record[: end - 1] + letter.encode() + record[end:]

    def judged(self) -> dict[str, Finding]:
        return {f"{finding.invariant} {finding.what}": finding for finding in self.checked().findings()}

    def checked(self) -> Checks:
        checks = Checks(
            policies={POLICY.version: POLICY},
            journal=Journal(lambda: self.journal, self.known_from_ms) if self.with_journal else None,
            sink_log=SinkLog(self.sends, TAGS) if self.with_sink else None,
            now_ms=self.now_ms,
        )
        for number, tag in enumerate(TAGS):
            checks.begin(Partition(number, tag, self.known_from_ms))
            for entry in self.trail[number]:
                if isinstance(entry, AuditSettled):
                    checks.settle(entry)
                else:
                    checks.feed(entry)
            for (day, name), value in self.records[number].items():
                checks.record(day, name, value)
            assert checks.notified == (self.with_sink and number == 0)
            for code, deed in self.acts if number == 0 else ():
                checks.act(code, deed)
            dead = sum(entry.letters.count("X") for entry in self.trail[number] if isinstance(entry, AuditEntry))
            assert checks.buried == (dead > 0)
            letters = DeadLetters(added=dead, standing=dead, inbound=dead, acted=0, inbound_acted=0)
            checks.end(
                self.rest[number],
                letters=letters if self.letters is None or number else self.letters,
                acts_from_ms=self.acts_from_ms,
                record_days={day for day, _ in self.records[number]},
                dead=self.dead,
                waiting=self.waiting,
                held=self.held,
            )
        return checks

    def violated(self) -> set[str]:
        return {name for name, finding in self.judged().items() if finding.status == "violated"}


def stored_entry(r: AuditRow, letter: str) -> bytes:
    when = timing(arrived_s=r.arrived_ms // 1000, decided_s=r.arrived_ms // 1000 + 1, minutes=180, days_to_arrival=0)
    owner, digest = bytes.fromhex(r.owner), bytes.fromhex(r.digest)
    phone = bytes.fromhex(r.sender)[:2]
    return static_struct(owner[4:], digest, r.arrived_ms // 1000, when, phone, r.purpose) + letter.encode()


def clean(*more: AuditEntry | AuditSettled, known_from_ms: int = 0) -> World:
    """Each kind of outcome but `shed`; `more` follows in the first partition, under a later lease."""
    return World(
        [
            [
                batch("aqm", row(0, "a-1"), row(1, "a-2"), row(2, "b-1", owner=BORIS, purpose=0)),
                batch("Da", row(3, "a-1"), row(4, "a-3", purpose=1), epoch=2),
                batch("X", row(5, "", owner="", purpose=0), epoch=2),
                *more,
            ],
            [batch("M", row(0, "a-1", owner="", purpose=0)), batch("a", row(1, "c-1", owner=CAVID))],
        ],
        known_from_ms=known_from_ms,
    )


def test_a_clean_trail_passes_every_check() -> None:
    judged = clean(batch("a", held(), epoch=2), ended("released", held())).judged()
    assert {name: finding.examples for name, finding in judged.items() if finding.status != "ok"} == {}
    assert all(finding.checked for finding in judged.values())
    assert {finding.what for finding in clean().judged().values() if not finding.checked} == {"holds"}
    assert {name.split()[0] for name in judged} == {"I1", "I2", "I3", "I4", "I5", "I7", "I8"}


FAULTS: dict[str, tuple[AuditEntry, set[str]]] = {
    "two decisions of one identity": (batch("m", row(9, "b-1", owner=BORIS, purpose=0), epoch=2), {"I2 identities"}),
    "two decisions of one text": (
        batch(
            "mm",
            row(9, "t", owner=BORIS, purpose=0, by_text=True),
            row(10, "t", owner=BORIS, purpose=0, by_text=True, at_ms=NOON_MS + 120_000),
            epoch=2,
        ),
        {"I2 identities"},
    ),
    "a duplicate of nothing": (batch("D", row(9, "new", owner=CAVID), epoch=2), {"I2 duplicates"}),
    "an entry decided twice": (batch("D", row(0, "a-1"), epoch=2), {"I3 entries"}),
    "an epoch that goes back": (batch("D", row(9, "a-1"), epoch=1), {"I3 epochs"}),
    "a permit over quota": (batch("a", row(9, "a-9"), epoch=2), {"I4 quota"}),
    "a permit under no purpose": (batch("a", row(9, "a-9", purpose=7), epoch=2), {"I4 quota"}),
    "an owner in two partitions": (batch("a", row(9, "c-2", owner=CAVID, purpose=1), epoch=2), {"I4 owners"}),
    "one SMS decided in two partitions": (
        batch("m", row(9, "c-1", owner=BORIS, purpose=0), epoch=2),
        {"I1 one place"},
    ),
    "a moved entry that never arrived": (batch("M", row(9, "far", owner=""), epoch=2), {"I1 moved"}),
    "a quota refusal without a permit": (batch("q", row(9, "d-1", owner="dd" * 8), epoch=2), {"I7 letters"}),
    "a shed message of a record with room": (batch("S", row(9, "d-1", owner="dd" * 8), epoch=2), {"I7 letters"}),
    "an answer kept back without cause": (
        batch("m", row(9, "d-1", owner="dd" * 8, purpose=0), epoch=2, silent="1"),
        {"I7 letters"},
    ),
    "an answer that was one too many": (
        batch("m" * 6, *(row(9 + n, f"d-{n}", owner="dd" * 8, purpose=0) for n in range(6)), epoch=2),
        {"I7 letters"},
    ),
    "a sixth phone that was let in": (
        batch(
            "aaaaaa",
            *(row(9 + n, f"d-{n}", owner="dd" * 8, purpose=1, sender=f"{n:04x}" * 4) for n in range(6)),
            epoch=2,
        ),
        {"I7 letters"},
    ),
    "an unknown outcome": (batch("?", row(9, "a-9"), epoch=2), {"I8 rows"}),
}
ALSO_DECIDED_OTHERWISE = {
    "two decisions of one identity",
    "two decisions of one text",
    "a duplicate of nothing",
    "a permit over quota",
    "an unknown outcome",
}
"""A model that follows the rules must disagree with these as well."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_in_the_trail_is_noticed_by_its_own_check(fault: str) -> None:
    entry, expected = FAULTS[fault]
    assert clean(entry).violated() == expected | ({"I7 letters"} if fault in ALSO_DECIDED_OTHERWISE else set())


def test_the_rules_alone_are_judged_where_the_trail_holds_another_policys_decisions() -> None:
    world = clean(batch("a", row(9, "a-9"), epoch=2, version="other-1"))
    judged = world.judged()
    assert world.violated() == set()
    for name in ("I4 quota", "I7 letters"):
        assert judged[name].status == "not checked"
        assert "decided under policy other-1" in judged[name].note
    assert judged["I7 permits"].status == "ok"


DORA: Final = "00000000000000dd"


def held(entry: int = 20, **other: Any) -> AuditRow:
    """An approval that is held for 15 minutes from its decision on."""
    return row(entry, f"h-{entry}", owner=DORA, hold_minutes=15, **other)


def ended(became: Literal["released", "withdrawn"], *rows: AuditRow, after_ms: int = 900_000) -> AuditSettled:
    """What became of it, so long after the decision."""
    ends = [SettledApproval(r.entry_id, r.owner, r.digest, r.purpose, r.asked_ms, r.arrived_ms) for r in rows]
    return AuditSettled(0, NOON_MS + 1000 + after_ms, became, ends)


def test_an_approval_that_is_told_when_its_hold_ends_is_as_it_should_be() -> None:
    world = clean(batch("a", held(), epoch=2), ended("released", held()))
    assert world.violated() == set()
    assert world.judged()["I5 holds"].checked == 1


def test_an_approval_that_is_withdrawn_has_no_reply_and_gives_its_permit_back() -> None:
    entries = batch("a", held(), epoch=2), ended("withdrawn", held()), batch("a", held(21), epoch=2)
    assert clean(*entries, ended("released", held(21))).violated() == set()
    assert clean(entries[0], entries[2], ended("released", held(), held(21))).violated() == {"I4 quota", "I7 letters"}


def test_an_approval_that_waits_is_no_fault_until_it_is_overdue() -> None:
    world = clean(batch("a", held(), epoch=2))
    world.held, world.now_ms = {held().entry_id: 0.0}, NOON_MS + 1000 + 900_000 + 60_000
    assert world.violated() == set()
    world.now_ms += 1
    assert world.violated() == {"I5 holds"}


HOLD_FAULTS: Final[dict[str, tuple[Sequence[AuditEntry | AuditSettled], set[str]]]] = {
    "told early": ((batch("a", held(), epoch=2), ended("released", held(), after_ms=899_999)), {"I5 holds"}),
    "told twice": (
        (batch("a", held(), epoch=2), ended("released", held()), ended("released", held())),
        {"I5 holds", "I5 replies"},
    ),
    "told and never held": (
        (batch("a", row(20, "h-20", owner=DORA), epoch=2), ended("released", held())),
        {"I5 holds", "I5 replies"},
    ),
    "forgotten": ((batch("a", held(), epoch=2),), {"I5 holds"}),
    "told after it was withdrawn": (
        (batch("a", held(), epoch=2), ended("withdrawn", held()), ended("released", held())),
        {"I5 holds", "I7 permits"},
    ),
}


@pytest.mark.parametrize("fault", HOLD_FAULTS)
def test_a_planted_fault_of_a_hold_is_noticed(fault: str) -> None:
    entries, expected = HOLD_FAULTS[fault]
    assert clean(*entries).violated() == expected


def test_a_reply_that_went_out_while_it_was_held_is_noticed() -> None:
    world = clean(batch("a", held(), epoch=2))
    world.held = {held().entry_id: 0.0}
    world.now_ms = NOON_MS + 2000
    world.sends.append(Send(f"{TAGS[0]}-{held().entry_id}", "approved"))
    assert world.violated() == {"I5 replies"}


ELMAN: Final = "00000000000000ee"


def permit(entry: int = 30, **other: Any) -> AuditRow:
    """An approval that is told at once."""
    return row(entry, f"p-{entry}", owner=ELMAN, **other)


def cancel(entry: int = 40, *, owner: str = ELMAN, purpose: int = 0, **other: Any) -> AuditRow:
    """An SMS with the cancel word."""
    return row(entry, f"k-{entry}", owner=owner, purpose=purpose, **other)


def told(at: int, target: AuditRow | None, *passed_over: AuditRow) -> Cancellation:
    """What the row at a place cancelled."""
    found = None if target is None else CancelledPermit(target.digest, target.arrived_ms // 1000, target.purpose, 0)
    return Cancellation(at, found, [(one.digest, one.arrived_ms // 1000) for one in passed_over])


def test_a_permit_that_its_phone_cancelled_stays_the_permit_of_its_day() -> None:
    entry = batch("acq", permit(), cancel(), permit(31), epoch=2, told=[told(1, permit())])
    assert clean(entry).violated() == set()
    assert clean(entry).checked().totals.cancelled == 1


def test_an_approval_that_its_phone_cancelled_while_it_was_held_gives_its_permit_back() -> None:
    rows = (held(), cancel(owner=DORA), held(21))
    entries = batch("aya", *rows, epoch=2, told=[told(1, held())]), ended("released", held(21))
    assert clean(*entries).violated() == set()
    assert clean(*entries).judged()["I5 holds"].checked == 2


def test_a_permit_that_was_held_and_told_is_cancelled_as_one_in_force() -> None:
    later_ms = NOON_MS + 960_000
    late = batch("c", cancel(owner=DORA, at_ms=later_ms), epoch=2, at_ms=later_ms, told=[told(0, held())])
    assert clean(batch("a", held(), epoch=2), ended("released", held()), late).violated() == set()


def test_a_permit_that_an_officer_has_changed_is_passed_over_as_the_trail_tells() -> None:
    entry = batch("aan", permit(), permit(31, purpose=1), cancel(), epoch=2, told=[told(2, None, permit())])
    assert clean(entry).violated() == {"I7 letters"}
    rows = (permit(), permit(31, purpose=1), cancel())
    assert clean(batch("aac", *rows, epoch=2, told=[told(2, rows[1], permit())])).violated() == set()
    assert clean(batch("aan", *rows, epoch=2, told=[told(2, None, *rows[:2])])).violated() == set()


def test_what_was_cancelled_of_a_trimmed_part_of_the_trail_is_taken_as_it_was() -> None:
    old_ms = NOON_MS - DAY_MS - 1000
    old = permit(at_ms=old_ms), held(at_ms=old_ms)
    cancelled = batch("cy", cancel(), cancel(41, owner=DORA), epoch=2, told=[told(0, old[0]), told(1, old[1])])
    world = clean(cancelled, batch("q", permit(31), epoch=2), known_from_ms=NOON_MS - DAY_MS)
    assert world.violated() == {"I7 permits"}
    world.records[0][TODAY - 1, bytes(4)] = b"".join(map(stored_entry, old, "ev"))
    assert world.violated() == set()
    assert world.judged()["I5 holds"].note == "1 left out: older than the trail"


def test_what_was_cancelled_before_the_trail_settled_counts_after_it() -> None:
    later_ms = NOON_MS + 1000
    settles_ms = later_ms + 500 - 4 * DAY_MS
    rows = permit(), cancel(), held(), cancel(41, owner=DORA)
    given = batch("acay", *rows, epoch=2, told=[told(1, permit()), told(3, held())])
    last = held(21, at_ms=later_ms)
    entries = (
        given,
        batch("qa", permit(31, at_ms=later_ms), last, epoch=2, at_ms=later_ms),
        ended("released", last, after_ms=901_000),
    )
    assert clean(*entries, known_from_ms=settles_ms).violated() == set()


OVER_MS: Final = NOON_MS + 4 * 3_600_000
NEWER: Final = permit(31, purpose=1, at_ms=NOON_MS + 1000)
CANCEL_FAULTS: Final[dict[str, tuple[Sequence[AuditEntry | AuditSettled], set[str]]]] = {
    "by another phone": (
        (batch("ac", permit(), cancel(sender="0002" * 4), epoch=2, told=[told(1, permit())]),),
        {"I7 letters"},
    ),
    "of another code": ((batch("ac", permit(), cancel(purpose=1), epoch=2, told=[told(1, permit())]),), {"I7 letters"}),
    "not the newest": (
        (
            batch("a", permit(), epoch=2),
            batch("ac", NEWER, cancel(), epoch=2, at_ms=NOON_MS + 1000, told=[told(1, permit())]),
        ),
        {"I7 letters"},
    ),
    "a permit that was over": (
        (batch("a", permit(), epoch=2), batch("c", cancel(), epoch=2, at_ms=OVER_MS, told=[told(0, permit())])),
        {"I7 letters"},
    ),
    "nothing, though there was a permit": (
        (batch("an", permit(), cancel(), epoch=2, told=[told(1, None)]),),
        {"I7 letters"},
    ),
    "one permit twice": (
        (batch("acc", permit(), cancel(), cancel(41), epoch=2, told=[told(1, permit()), told(2, permit())]),),
        {"I7 letters"},
    ),
    "a permit that nobody has": (
        (batch("c", cancel(), epoch=2, told=[told(0, permit())]),),
        {"I7 letters", "I7 permits"},
    ),
    "a permit in force, and its day given back": (
        (batch("aca", permit(), cancel(), permit(31), epoch=2, told=[told(1, permit())]),),
        {"I4 quota", "I7 letters"},
    ),
    "a held one, and its day not given back": (
        (batch("ayq", held(), cancel(owner=DORA), held(21), epoch=2, told=[told(1, held())]),),
        {"I7 letters"},
    ),
    "as held what was in force": (
        (batch("ay", permit(), cancel(), epoch=2, told=[told(1, permit())]),),
        {"I5 holds", "I7 letters"},
    ),
    "a held one, which was told all the same": (
        (batch("ay", held(), cancel(owner=DORA), epoch=2, told=[told(1, held())]), ended("released", held())),
        {"I5 holds", "I7 permits"},
    ),
}


@pytest.mark.parametrize("fault", CANCEL_FAULTS)
def test_a_planted_fault_of_a_cancellation_is_noticed(fault: str) -> None:
    entries, expected = CANCEL_FAULTS[fault]
    assert clean(*entries).violated() == expected


def test_a_cancelled_permit_that_its_record_still_has_in_force_is_noticed() -> None:
    world = clean(batch("ac", permit(), cancel(), epoch=2, told=[told(1, permit())]))
    world.became(world.records[0], ELMAN, permit().digest, "a")
    assert world.violated() == {"I7 permits"}


@pytest.mark.parametrize("verdict", ["refused", "approved"])
def test_a_cancellation_that_was_answered_with_another_verdict_is_noticed(verdict: Verdict) -> None:
    world = clean(batch("ac", permit(), cancel(), epoch=2, told=[told(1, permit())]))
    [at] = [at for at, send in enumerate(world.sends) if send.id == f"0a-{cancel().entry_id}"]
    world.sends[at] = msgspec.structs.replace(world.sends[at], verdict=verdict)
    assert world.violated() == {"I5 replies"}


def lose_an_id(world: World) -> None:
    world.journal.append(JournalLine("lost-1", acked_ms=NOON_MS))


def forget_a_reply(world: World) -> None:
    del world.sends[0]


def leave_a_reply_waiting(world: World) -> None:
    world.waiting = {world.sends.pop(0).id}


def repeat_a_send(world: World) -> None:
    world.sends.append(world.sends[0])


def answer_the_undecided(world: World) -> None:
    world.sends.append(Send(f"0a-{NOON_MS}-77", "refused"))


def answer_a_duplicate(world: World) -> None:
    world.sends.append(Send(f"0a-{NOON_MS}-3", "approved"))


def answer_a_stranger(world: World) -> None:
    world.sends.append(Send("9z-1-1", "refused"))


def turn_a_verdict(world: World) -> None:
    world.sends[0] = msgspec.structs.replace(world.sends[0], verdict="refused")


def change_a_counter(world: World) -> None:
    world.rest[0].counts[TODAY]["a2"] += 1


def invent_a_counter(world: World) -> None:
    world.rest[1].counts[TODAY - 1] = {"m0": 1}


def miscount_the_unanswered(world: World) -> None:
    world.rest[0].counts[TODAY]["unanswered"] = 1


def lose_the_counters(world: World) -> None:
    del world.rest[0].counts[TODAY]


def invent_a_permit(world: World) -> None:
    world.records[0][TODAY, bytes(4)] += stored_entry(row(9, "unknown"), "a")


def repeat_a_permit(world: World) -> None:
    world.records[0][TODAY, bytes(4)] += stored_entry(row(0, "a-1"), "a")


def lose_a_permit(world: World) -> None:
    world.records[1].clear()


def cut_a_record(world: World) -> None:
    world.records[1][TODAY - 1, b"abcd"] = b"short"


def leave_undecided(world: World) -> None:
    world.rest[0] = msgspec.structs.replace(world.rest[0], undecided=1, appended=7)


def leave_pending(world: World) -> None:
    world.rest[0] = msgspec.structs.replace(world.rest[0], pending=1)


def leave_unread(world: World) -> None:
    world.rest[0] = msgspec.structs.replace(world.rest[0], unread_replies=True)


def remove_without_a_row(world: World) -> None:
    world.rest[0] = msgspec.structs.replace(world.rest[0], appended=7)


@pytest.mark.parametrize(
    ("plant", "expected"),
    [
        (lose_an_id, "I1 loss"),
        (forget_a_reply, "I5 replies"),
        (leave_a_reply_waiting, "I5 replies"),
        (repeat_a_send, "I5 replies"),
        (answer_the_undecided, "I5 replies"),
        (answer_a_duplicate, "I5 replies"),
        (answer_a_stranger, "I5 replies"),
        (turn_a_verdict, "I5 replies"),
        (change_a_counter, "I8 counters"),
        (invent_a_counter, "I8 counters"),
        (miscount_the_unanswered, "I8 counters"),
        (lose_the_counters, "I8 counters"),
        (invent_a_permit, "I7 permits"),
        (repeat_a_permit, "I7 permits"),
        (lose_a_permit, "I7 permits"),
        (cut_a_record, "I7 permits"),
        (leave_undecided, "I8 at rest"),
        (leave_pending, "I8 at rest"),
        (leave_unread, "I8 at rest"),
        (remove_without_a_row, "I8 rows"),
    ],
)
def test_a_planted_fault_beside_the_trail_is_noticed_by_its_own_check(
    plant: Callable[[World], None], expected: str
) -> None:
    world = clean()
    plant(world)
    assert world.violated() == {expected}


def test_an_id_that_was_only_moved_counts_as_lost() -> None:
    world = clean(batch("M", row(9, "far", owner=""), epoch=2))
    world.journal.append(JournalLine("far", acked_ms=NOON_MS))
    assert world.violated() == {"I1 loss", "I1 moved"}
    assert "'far'" in world.judged()["I1 loss"].examples[0]


def test_rejected_ids_are_not_missed_and_repeated_ids_count_once() -> None:
    world = clean()
    world.journal += [JournalLine("never", rejected="no text"), JournalLine("a-1", acked_ms=NOON_MS)]
    assert world.violated() == set()
    assert world.judged()["I1 loss"].checked == len({line.id for line in world.journal} - {"never"})


def test_an_unacknowledged_sms_may_have_its_decision() -> None:
    world = clean()
    world.journal.clear()
    assert world.violated() == set()


def test_an_id_reused_with_other_words_is_another_sms() -> None:
    assert clean(batch("q", row(9, "a-1", words="other"), epoch=2)).violated() == set()


def test_the_same_text_after_two_minutes_is_another_sms() -> None:
    first = row(9, "t", owner=BORIS, purpose=0, by_text=True)
    later = row(10, "t", owner=BORIS, purpose=0, by_text=True, at_ms=NOON_MS + 121_000)
    assert clean(batch("mm", first, later, epoch=2)).violated() == set()


def test_a_new_day_brings_a_new_permit() -> None:
    tomorrow_ms = NOON_MS + DAY_MS
    assert clean(batch("a", row(9, "a-9", at_ms=tomorrow_ms), epoch=2, at_ms=tomorrow_ms)).violated() == set()


def test_a_message_past_a_full_record_may_be_shed() -> None:
    rows = [row(100 + n, f"s-{n}", owner=BORIS, purpose=0) for n in range(250)]
    silent = "0" * 4 + "1" * 245 + "0"  # the fifth refusal of the hour is the last that is answered
    assert clean(batch("m" * 249 + "S", *rows, epoch=2, silent=silent)).violated() == set()


def test_a_second_send_marked_ambiguous_is_allowed() -> None:
    world = clean()
    world.sends.append(msgspec.structs.replace(world.sends[0], ambiguous=True))
    assert world.violated() == set()


def test_a_reply_in_the_dead_letters_needs_no_send() -> None:
    world = clean()
    world.dead = {world.sends.pop(0).id}
    assert world.violated() == set()


def test_without_journal_and_sink_nothing_is_said_to_be_ok() -> None:
    world = clean()
    world.with_journal = world.with_sink = False
    judged = world.judged()
    assert judged["I1 loss"].status == judged["I5 replies"].status == judged["I5 notices"].status == "not checked"
    assert world.violated() == set()


def leave_no_act(world: World) -> None:
    world.acts.remove((CODE, "cancel"))


def act_otherwise(world: World) -> None:
    world.acts[1] = (CODE, "extend")


def act_on_another_permit(world: World) -> None:
    world.acts[1] = ("23456789AC", "cancel")


def call_a_notice_an_approval(world: World) -> None:
    world.sends[-2] = msgspec.structs.replace(NOTICE, verdict="approved")


def repeat_a_notice(world: World) -> None:
    world.sends.append(NOTICE)


@pytest.mark.parametrize(
    "plant", [leave_no_act, act_otherwise, act_on_another_permit, call_a_notice_an_approval, repeat_a_notice]
)
def test_a_planted_fault_among_notices_is_noticed(plant: Callable[[World], None]) -> None:
    world = clean()
    plant(world)
    assert world.violated() == {"I5 notices"}


def test_a_notice_in_an_unknown_partition_or_of_no_code_names_no_entry() -> None:
    for name in (f"9z-n2-{CODE}", "0a-n2-23456789A", "0a-n2-2345678901", f"0a-n-{CODE}", f"0a-2-{CODE}"):
        world = clean()
        world.sends.append(Send(name, "cancelled"))
        assert world.violated() == {"I5 replies"}, name


def test_a_decision_that_was_answered_with_a_notices_verdict_is_noticed() -> None:
    world = clean()
    world.sends[0] = msgspec.structs.replace(world.sends[0], verdict="cancelled")
    assert world.violated() == {"I5 replies"}


def test_a_second_send_of_a_notice_marked_ambiguous_is_allowed() -> None:
    world = clean()
    world.sends.append(msgspec.structs.replace(NOTICE, ambiguous=True))
    assert world.violated() == set()


def test_a_notice_whose_act_may_have_been_trimmed_is_left_out_and_said() -> None:
    world = clean()
    leave_no_act(world)
    world.acts_from_ms = NOON_MS - 3_600_000
    assert world.violated() == set()
    assert world.judged()["I5 notices"].note == "1 left out: older than the trail"
    world.acts_from_ms = NOON_MS - 2 * DAY_MS
    assert world.violated() == {"I5 notices"}


@pytest.mark.parametrize(
    "letters",
    [
        DeadLetters(added=1, standing=0, inbound=0, acted=1, inbound_acted=1),
        DeadLetters(added=3, standing=2, inbound=1, acted=1, inbound_acted=0),
    ],
)
def test_a_letter_that_was_put_back_or_dropped_is_accounted_for_by_its_act(letters: DeadLetters) -> None:
    world = clean()
    world.letters = letters
    assert world.violated() == set()


@pytest.mark.parametrize(
    "letters",
    [
        DeadLetters(added=0, standing=0, inbound=0, acted=0, inbound_acted=0),
        DeadLetters(added=1, standing=1, inbound=0, acted=0, inbound_acted=0),
        DeadLetters(added=2, standing=1, inbound=1, acted=1, inbound_acted=1),
    ],
)
def test_a_dead_entry_without_its_letter_is_noticed(letters: DeadLetters) -> None:
    world = clean()
    world.letters = letters
    assert world.violated() == {"I8 dead letters"}


def test_letters_that_age_has_taken_are_left_out() -> None:
    world = clean()
    world.letters = DeadLetters(added=2, standing=0, inbound=0, acted=1, inbound_acted=0)
    assert world.judged()["I8 dead letters"].note == "1 left out: older than the trail"


def test_the_totals_are_the_rows_by_what_became_of_them() -> None:
    checks = clean(batch("S", row(9, "s-1", owner=BORIS), epoch=2)).checked()
    assert checks.totals == Totals(decided=5, approved=3, refused=2, cancelled=0, dead=1, duplicate=1, shed=1, moved=1)
    assert checks.rows == 9


def test_only_the_first_examples_are_kept_and_all_are_counted() -> None:
    world = clean()
    world.journal += [JournalLine(f"lost-{n}", acked_ms=NOON_MS) for n in range(25)]
    loss = world.judged()["I1 loss"]
    assert (loss.violations, len(loss.examples)) == (25, EXAMPLES)


def test_what_came_before_the_rest_of_a_trimmed_trail_is_left_out_and_said() -> None:
    month_ms = NOON_MS - 30 * DAY_MS
    world = clean(known_from_ms=NOON_MS - 7 * DAY_MS)
    world.journal.append(JournalLine("old", acked_ms=month_ms))
    world.sends.append(Send(f"0a-{month_ms}-0", "approved"))
    world.records[0][TODAY - 30, bytes(4)] = stored_entry(row(0, "old", at_ms=month_ms), "a")
    world.rest[0].counts[TODAY - 30] = {"a2": 1}
    judged = world.judged()
    assert world.violated() == set()
    for name in ("I1 loss", "I5 replies", "I7 permits", "I8 counters"):
        assert judged[name].note == "1 left out: older than the trail"


def test_decisions_that_rest_on_a_trimmed_part_are_replayed_but_not_judged() -> None:
    world = clean(batch("Dq", row(9, "old"), row(10, "d-1", owner="dd" * 8), epoch=2), known_from_ms=NOON_MS - DAY_MS)
    assert world.violated() == set()
    assert world.judged()["I2 duplicates"].note == "1 left out: older than the trail"
    late = clean(
        batch("Dq", row(9, "old"), row(10, "d-1", owner="dd" * 8), epoch=2), known_from_ms=NOON_MS - 5 * DAY_MS
    )
    assert late.violated() == {"I2 duplicates", "I7 letters"}


@pytest.mark.parametrize(
    "line", ['{"id": "a"}', '{"id": 7, "acked_ms": 1}', '{"acked_ms": 1}', "not json", "[]", "\xff"]
)
def test_a_bad_journal_line_is_named_by_file_and_number(line: str, tmp_path: Path) -> None:
    file = tmp_path / "journal.ndjson"
    file.write_text(f'{{"id": "a", "acked_ms": 1}}\n\n{line}\n', encoding="latin-1")
    with pytest.raises(UnusableInputError, match=r"journal\.ndjson, line 3: "):
        list(read_journal(file))


@pytest.mark.parametrize("line", ['{"id": "0a-1-1"}', '{"id": "0a-1-1", "verdict": "perhaps"}', '{"id": "0a-1-1",'])
def test_a_bad_sink_line_is_named_by_file_and_number(line: str, tmp_path: Path) -> None:
    file = tmp_path / "sink.ndjson"
    file.write_text(line)
    with pytest.raises(UnusableInputError, match=r"sink\.ndjson, line 1: "):
        list(read_sink_log(file))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnusableInputError, match=r"nowhere: No such file"):
        list(read_journal(tmp_path / "nowhere"))
