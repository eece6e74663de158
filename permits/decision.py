"""The rules as a plain sequential model: the oracle that the atomic function and the audit trail are held against.

It knows no batches, bytes or store: one request after another, in the order in which they were decided.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import msgspec

from permits.calendar import local_day
from permits.outcomes import APPROVED, DUPLICATE, REFUSALS, SHED, WITHDRAWN
from permits.regimes import Limits, Rule

DEDUP_DAYS: Final = 2
"""A repeat is looked for in the records of its day of arrival and this many days before: at least 48 hours."""
BY_TEXT_WINDOW_S: Final = 120
REFUSALS_WINDOW_S: Final = 3600
"""Of this length is the hour in which refusals are counted: back from the arrival."""
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
    sender: str = ""
    """The phone, under any name that no other phone has."""
    listed: bool = False
    """Whether the document stands on a list that bars it from the purpose."""
    limits: Limits = Limits()


class Outcome(msgspec.Struct, frozen=True):
    """What becomes of one SMS."""

    letter: str
    answered: bool
    """Whether a reply goes out."""


class _Entry(msgspec.Struct):
    identity: str
    letter: str
    purpose: int
    day: int
    arrival_day: int
    arrival_s: int
    sender: str


class Model:
    """What has been decided so far, by owner."""

    def __init__(self, record_entries: int = RECORD_ENTRIES) -> None:
        self._record_entries = record_entries
        self._records: defaultdict[str, list[_Entry]] = defaultdict(list)

    def decide(self, request: Request) -> Outcome:
        """The outcome of one request, remembered for the next."""
        arrival_day = local_day(request.arrived_ms)
        arrival_s = request.arrived_ms // 1000
        day = local_day(request.asked_ms)
        record = self._records[request.owner]
        if sum(1 for entry in record if entry.arrival_day == arrival_day) >= self._record_entries:
            return Outcome(SHED, answered=False)
        for entry in record:
            if entry.identity != request.identity:
                continue
            if request.by_text:
                if abs(entry.arrival_s - arrival_s) <= BY_TEXT_WINDOW_S:
                    return Outcome(DUPLICATE, answered=False)
            elif entry.arrival_day >= arrival_day - DEDUP_DAYS:
                return Outcome(DUPLICATE, answered=False)
        letter = request.refused or self._judged(request, [entry for entry in record if entry.day == day])
        refusals = sum(
            1
            for e in record
            if e.sender == request.sender
            and e.letter not in (APPROVED, WITHDRAWN)
            and e.arrival_s > arrival_s - REFUSALS_WINDOW_S
        )
        most = request.limits.refusals_answered_per_hour
        record.append(
            _Entry(request.identity, letter, request.purpose, day, arrival_day, arrival_s, request.sender),
        )
        return Outcome(letter, answered=letter == APPROVED or most is None or refusals < most)

    def withdraw(self, owner: str, identity: str, arrived_ms: int) -> None:
        """A permit is cancelled while it is held: it counts for nothing any more.

        Its identity alone does not name it: a text without an id has the same again after two minutes.
        """
        for entry in self._records[owner]:
            known = entry.identity == identity and entry.arrival_s == arrived_ms // 1000
            if known and entry.letter == APPROVED:
                entry.letter = WITHDRAWN

    @staticmethod
    def _judged(request: Request, today: Sequence[_Entry]) -> str:
        """The letter that lists, limits and rules give; `today` is what was decided for the quota's day."""
        if request.listed:
            return REFUSALS["blocked"]
        # Who was turned away as one phone too many does not become known by it.
        limits, senders = request.limits, {e.sender for e in today if e.letter != REFUSALS["abuse_document"]}
        if limits.requests_per_document is not None and len(today) >= limits.requests_per_document:
            return REFUSALS["abuse_document"]
        if limits.senders_per_document is not None and request.sender not in senders:
            if len(senders) >= limits.senders_per_document:
                return REFUSALS["abuse_document"]
        for rule in request.rules:
            held = sum(1 for entry in today if entry.letter == APPROVED and entry.purpose in rule.purposes)
            if held >= rule.limit:
                return REFUSALS["quota"]
        return APPROVED
