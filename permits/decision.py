"""The rules as a plain sequential model: the oracle that the atomic function and the audit trail are held against.

It knows no batches, bytes or store: one request after another, in the order in which they were decided.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import msgspec

from permits.calendar import local_day
from permits.outcomes import APPROVED, DUPLICATE, REFUSALS, SHED
from permits.policy import Rule

DEDUP_DAYS: Final = 2
"""A repeat is looked for in the records of its day of arrival and this many days before: at least 48 hours."""
BY_TEXT_WINDOW_S: Final = 120
RECORD_ENTRIES: Final = 250
"""What one owner's record of one day may hold; past it the owner's messages are shed."""


class Request(msgspec.Struct, frozen=True):
    """One SMS as far as the rules care."""

    owner: str
    identity: str
    """Two SMS with the same identity, within the window, are the same SMS."""
    purpose: int
    asked_ms: int
    arrived_ms: int
    refused: str | None = None
    """Outcome letter where the form alone refuses; None: the rules decide."""
    rules: Sequence[Rule] = ()
    by_text: bool = False


class _Entry(msgspec.Struct, frozen=True):
    identity: str
    letter: str
    purpose: int
    day: int
    arrival_day: int
    arrival_s: int


class Model:
    """What has been decided so far, by owner."""

    def __init__(self, record_entries: int = RECORD_ENTRIES) -> None:
        self._record_entries = record_entries
        self._records: defaultdict[str, list[_Entry]] = defaultdict(list)

    def decide(self, request: Request) -> str:
        """The outcome letter of one request, remembered for the next."""
        arrival_day = local_day(request.arrived_ms)
        arrival_s = request.arrived_ms // 1000
        day = local_day(request.asked_ms)
        record = self._records[request.owner]
        if sum(1 for entry in record if entry.arrival_day == arrival_day) >= self._record_entries:
            return SHED
        for entry in record:
            if entry.identity != request.identity:
                continue
            if request.by_text:
                if abs(entry.arrival_s - arrival_s) <= BY_TEXT_WINDOW_S:
                    return DUPLICATE
            elif entry.arrival_day >= arrival_day - DEDUP_DAYS:
                return DUPLICATE
        letter = request.refused or self._rule_letter(request, record, day)
        record.append(_Entry(request.identity, letter, request.purpose, day, arrival_day, arrival_s))
        return letter

    @staticmethod
    def _rule_letter(request: Request, record: list[_Entry], day: int) -> str:
        for rule in request.rules:
            held = sum(1 for e in record if e.letter == APPROVED and e.day == day and e.purpose in rule.purposes)
            if held >= rule.limit:
                return REFUSALS[rule.reason]
        return APPROVED
