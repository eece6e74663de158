"""The rules as a plain sequential model: the oracle that the atomic function and the audit trail are held against.

It knows no batches, bytes or store: one request after another, in the order in which they were decided.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from permits.calendar import local_day
from permits.outcomes import (
    APPROVED,
    CANCELLED,
    CANCELLED_HELD,
    DUPLICATE,
    ENDED,
    REASON_OF,
    REFUSALS,
    SHED,
    WITHDRAWN,
)
from permits.regimes import Limits, Rule

DEDUP_DAYS: Final = 2
"""A repeat is looked for in the records of its day of arrival and this many days before: at least 48 hours."""
BY_TEXT_WINDOW_S: Final = 120
REFUSALS_WINDOW_S: Final = 3600
"""Of this length is the hour in which refusals are counted: back from the arrival."""
RECORD_ENTRIES: Final = 250
"""What one owner's record of one day may hold; past it the owner's messages are shed."""


Name = tuple[str, int]
"""Identity and arrival, s, of an SMS that obtained a permit: a text without an id has the same identity again after
two minutes."""


class Cancel(msgspec.Struct, frozen=True):
    """Which permits an SMS with the cancel word may cancel, the newest first."""

    arrived_since_s: int
    """When the SMS that obtained it must have arrived."""
    endless_since_s: int
    """When one without end must have begun."""
    passed_over: Collection[Name] = ()
    """Permits that are not its to cancel: an officer has changed them, or they cannot be told any more."""


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
    decided_ms: int = 0
    minutes: int = 0
    """How long its permit runs; 0: no end."""
    hold_minutes: int = 0
    """How long its approval is held."""
    cancel: Cancel | None = None
    """It asks to cancel a permit of its purpose (0: of any), and for none."""


class Outcome(msgspec.Struct, frozen=True):
    """What becomes of one SMS."""

    letter: str
    answered: bool
    """Whether a reply goes out."""
    cancelled: Name | None = None
    """The permit that it has cancelled."""


class _Entry(msgspec.Struct):
    identity: str
    letter: str
    purpose: int
    day: int
    arrival_day: int
    arrival_s: int
    sender: str
    begins_s: int
    """When its permit begins, or its hold ends."""
    minutes: int
    is_held: bool


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
        refusals = sum(
            1
            for e in record
            if e.sender == request.sender and e.letter in REASON_OF and e.arrival_s > arrival_s - REFUSALS_WINDOW_S
        )
        cancelled: Name | None = None
        if request.cancel is not None:
            letter, cancelled = self._cancel(request, request.cancel, record)
        else:
            letter = request.refused or self._judged(request, [entry for entry in record if entry.day == day])
        most = request.limits.refusals_answered_per_hour
        record.append(
            _Entry(
                request.identity,
                letter,
                request.purpose,
                day,
                arrival_day,
                arrival_s,
                request.sender,
                max(arrival_s, request.decided_ms // 1000) + request.hold_minutes * 60,
                request.minutes,
                request.hold_minutes > 0,
            ),
        )
        return Outcome(letter, letter not in REASON_OF or most is None or refusals < most, cancelled)

    def release(self, owner: str, name: Name, at_s: int) -> None:
        """An approval that was held is told: its permit begins."""
        for entry in self._records.get(owner, ()):
            if (entry.identity, entry.arrival_s) == name and entry.letter == APPROVED and entry.is_held:
                entry.is_held, entry.begins_s = False, max(entry.arrival_s, at_s)

    def withdraw(self, owner: str, name: Name) -> None:
        """A permit is cancelled while it is held: it counts for nothing any more."""
        for entry in self._records.get(owner, ()):
            if (entry.identity, entry.arrival_s) == name and entry.letter == APPROVED:
                entry.letter = WITHDRAWN

    def cancel(self, owner: str, name: Name) -> None:
        """A permit is cancelled by SMS, as it is told."""
        for entry in self._records.get(owner, ()):
            if (entry.identity, entry.arrival_s) == name and entry.letter == APPROVED:
                entry.letter = WITHDRAWN if entry.is_held else ENDED

    def _cancel(self, request: Request, cancel: Cancel, record: Sequence[_Entry]) -> tuple[str, Name | None]:
        """The letter of an SMS with the cancel word, and what it cancels."""
        now_s, newest = request.decided_ms // 1000, None
        for entry in record:
            if (
                entry.letter == APPROVED
                and entry.sender == request.sender
                and request.purpose in (0, entry.purpose)
                and entry.arrival_s >= cancel.arrived_since_s
                and (entry.is_held or _stands(entry, cancel, now_s))
                and (entry.identity, entry.arrival_s) not in cancel.passed_over
                and (newest is None or (entry.begins_s, entry.arrival_day) >= (newest.begins_s, newest.arrival_day))
            ):
                newest = entry
        if newest is None:
            return REFUSALS["nothing_to_cancel"], None
        newest.letter = WITHDRAWN if newest.is_held else ENDED
        return (CANCELLED_HELD if newest.is_held else CANCELLED), (newest.identity, newest.arrival_s)

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
            held = sum(1 for entry in today if entry.letter in (APPROVED, ENDED) and entry.purpose in rule.purposes)
            if held >= rule.limit:
                return REFUSALS["quota"]
        return APPROVED


def _stands(entry: _Entry, cancel: Cancel, now_s: int) -> bool:
    """Whether a permit that was told is not over."""
    return entry.begins_s + entry.minutes * 60 > now_s if entry.minutes else entry.begins_s >= cancel.endless_since_s
