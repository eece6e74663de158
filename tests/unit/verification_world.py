"""A store and a trail as `icaze verify` finds them, clean, for tests to plant faults in."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lua.records import ENTRY_BYTES, timing
from permits import policy
from permits.calendar import DAY_MS, day_number, day_start_ms, local_day
from permits.messages import (
    AuditBatch,
    AuditRow,
    AuditSettled,
    Cancellation,
    SettledApproval,
    Verdict,
)
from processor.verification.accounts import AtRest
from processor.verification.buried import DeadLetters
from processor.verification.checks import Checks
from processor.verification.finding import Finding
from processor.verification.journal import Journal, JournalLine
from processor.verification.sink_log import Send, SinkLog
from processor.verification.trail import DECIDED, AuditEntry, Partition
from tests.day_records import static_struct

POLICY = policy.load()
TODAY = day_number("20260102")
NOON_MS = day_start_ms(TODAY) + DAY_MS // 2
TAGS = ("0a", "1b")
CODE, EXTENDED = "23456789AB", "ABCDEFGHJK"
NOTICE = Send(f"0a-n2-{CODE}", "cancelled", at_ms=NOON_MS)
ANNA, BORIS, CAVID, DORA = "00000000000000aa", "00000000000000bb", "00000000000000cc", "00000000000000dd"


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


def held(entry: int = 20, **other: Any) -> AuditRow:
    """An approval that is held for 15 minutes from its decision on."""
    return row(entry, f"h-{entry}", owner=DORA, hold_minutes=15, **other)


def ended(became: Literal["released", "withdrawn"], *rows: AuditRow, after_ms: int = 900_000) -> AuditSettled:
    """What became of it, so long after the decision."""
    ends = [SettledApproval(r.entry_id, r.owner, r.digest, r.purpose, r.asked_ms, r.arrived_ms) for r in rows]
    return AuditSettled(0, NOON_MS + 1000 + after_ms, became, ends)
