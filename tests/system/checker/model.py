"""The rules as a plain sequential model: one SMS after another, in the order of the trail."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tests.system.checker.layout import day_of
from tests.system.checker.rules import Purpose, Regime
from tests.system.checker.trail import REFUSALS, Row

BYTES: Final = 22
"""Of an entry in a record."""
ROOM: Final = 250
"""Entries that the records of one field may hold a day."""
REPEATED_DAYS: Final = 2
REPEATED_S: Final = 120
HOUR_S: Final = 3600
LONGEST_DELAY_S: Final = (1 << 18) - 1
PERMITS: Final = frozenset("awe")


@dataclass
class Entry:
    """One decision, as its record keeps it."""

    owner: str
    digest: str
    arrived_s: int
    delay_s: int
    minutes: int
    day: int
    arrival_day: int
    sender: str
    purpose: int
    letter: str

    def packed(self) -> bytes:
        """Its 22 bytes: owner's tag, digest, arrival, times, phone, purpose, letter."""
        times = min(max(self.delay_s, 0), LONGEST_DELAY_S) << 14 | self.minutes << 2 | self.arrival_day - self.day + 1
        return b"".join(
            (
                bytes.fromhex(self.owner[8:]),
                bytes.fromhex(self.digest),
                self.arrived_s.to_bytes(4),
                times.to_bytes(4),
                bytes.fromhex(self.sender[:4]),
                bytes((self.purpose,)),
                self.letter.encode(),
            )
        )

    @property
    def begins_s(self) -> int:
        """When its permit begins, or its hold ends."""
        return self.arrived_s + self.delay_s


class Model:
    """What one partition has decided so far."""

    def __init__(self) -> None:
        self.records: defaultdict[tuple[str, int], list[Entry]] = defaultdict(list)
        """By field and day of arrival, in order."""
        self._of: defaultdict[str, list[Entry]] = defaultdict(list)
        self.silent = False
        """Whether the last one is refused once too often to be answered."""

    def decide(self, row: Row, form: str | None, regime: Regime, purpose: Purpose | None) -> str:
        """The letter of an SMS; `form`: the one that its form, or the outside, gives it; None: the rules decide."""
        arrived_s, arrival_day, day = row.arrived_ms // 1000, day_of(row.arrived_ms), day_of(row.asked_ms)
        record, past = self.records[row.owner[:8], arrival_day], self._of[row.owner]
        self.silent = False
        if len(record) < ROOM and any(_is_same(known, row, arrived_s, arrival_day) for known in past):
            return "D"
        if len(record) >= ROOM:
            return "S"
        refusals = sum(
            known.letter in REFUSALS and known.sender == row.sender and known.arrived_s > arrived_s - HOUR_S
            for known in past
        )
        letter = form or _judged(row.sender, [known for known in past if known.day == day], regime, purpose)
        most = regime.limits.get("refusals_answered_per_hour")
        self.silent = letter in REFUSALS and most is not None and refusals >= most
        asked_rules = form is None or form == "k"
        held = letter == "a" and row.hold_minutes > 0
        entry = Entry(
            row.owner,
            row.digest,
            arrived_s,
            max(0, row.decided_ms // 1000 - arrived_s) + (row.hold_minutes * 60 if held else 0),
            purpose.minutes if purpose is not None and asked_rules else 0,
            day,
            arrival_day,
            row.sender,
            purpose.code if purpose is not None else 0,
            "w" if held else letter,
        )
        record.append(entry)
        past.append(entry)
        return letter

    def find(self, owner: str, digest: str, arrived_s: int, letters: Iterable[str]) -> Entry | None:
        """The entry of an SMS, where its letter is one of some."""
        return next(
            (e for e in self._of[owner] if (e.digest, e.arrived_s) == (digest, arrived_s) and e.letter in letters), None
        )

    def cancellable(self, row: Row, regime: Regime) -> list[Entry]:
        """Permits that an SMS with the cancel word may end, the newest first: of its phone, and not over."""
        now_s = row.decided_ms // 1000
        longest = max((purpose.honoured_days for purpose in regime.purposes.values()), default=0)

        def stands(known: Entry) -> bool:
            if known.minutes:
                return known.begins_s + known.minutes * 60 > now_s
            days = regime.purposes[row.purpose].honoured_days if row.purpose in regime.purposes else longest
            return day_of(known.begins_s * 1000) > day_of(row.decided_ms) - days

        own = [
            known
            for known in self._of[row.owner]
            if known.sender == row.sender
            and row.purpose in (0, known.purpose)
            and (known.letter == "w" or (known.letter == "a" and stands(known)))
            and (known.digest, known.arrived_s) not in row.passed_over
        ]
        return sorted(own, key=lambda known: (known.begins_s, known.arrival_day), reverse=True)


def _is_same(known: Entry, row: Row, arrived_s: int, arrival_day: int) -> bool:
    if known.digest != row.digest:
        return False
    if row.by_text:
        return abs(known.arrived_s - arrived_s) <= REPEATED_S
    return known.arrival_day >= arrival_day - REPEATED_DAYS


def _judged(sender: str, today: list[Entry], regime: Regime, purpose: Purpose | None) -> str:
    limits = regime.limits
    if len(today) >= limits.get("requests_per_document", len(today) + 1):
        return "d"
    phones = {known.sender for known in today if known.letter != "d"}
    if sender not in phones and len(phones) >= limits.get("senders_per_document", len(phones) + 1):
        return "d"
    for most, under in purpose.limits if purpose is not None else ():
        if sum(known.letter in PERMITS and known.purpose in under for known in today) >= most:
            return "q"
    return "a"
