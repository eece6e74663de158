"""Judges the rows of one partition under another policy, in the order in which they were decided.

It says what `permits.decision.Model` says, many times as fast: of each owner and day it keeps what the rules can ask,
not the decisions themselves.
"""

from bisect import bisect_right, insort
from math import inf
from typing import Final

import msgspec

from lua.records import SENDER_BYTES
from permits.calendar import day_start_ms, local_day
from permits.decision import REFUSALS_WINDOW_S
from permits.messages import AuditRow, AuditSettled
from permits.outcomes import APPROVED, CANCELLATIONS, REFUSALS
from permits.policy import Policy
from permits.regimes import Hours, Limits, Regime, Rule, instant_ms
from permits.sms import Fault, Reading

BLOCKED: Final = REFUSALS["blocked"]
BUSY: Final = REFUSALS["abuse_sender"]
BEARING_DAYS: Final = 7
"""No older decision bears on a new one: an SMS was received at most two days before it arrived, and counts as having
arrived at most three days before its decision."""
_ABUSE: Final = REFUSALS["abuse_document"]
_QUOTA: Final = REFUSALS["quota"]
_LATE: Final = REFUSALS["late"]
_NO_REFUSAL: Final = CANCELLATIONS | {APPROVED}
_SENDER_DIGITS: Final = 2 * SENDER_BYTES


Verdict = tuple[str, int, bool]
"""(letter, purpose, whether it is a refusal that goes unanswered) of one row; purpose 0: none of the regime."""


class _Form(msgspec.Struct, frozen=True):
    """What texts of one form get while the rules stay the same."""

    letter: str
    """APPROVED: lists, limits and rules decide."""
    purpose: int
    rules: tuple[Rule, ...]
    is_barred: bool
    """Whether any status list bars documents from the purpose."""


class _Tally(msgspec.Struct, gc=False):
    """What was decided of one owner for one day."""

    requests: int
    phones: tuple[str, ...]
    permits: tuple[int, ...]
    """Their purposes."""


class _Stretch(msgspec.Struct, frozen=True):
    """A part of a Baku day in which SMS of one form meet the same rules."""

    start_ms: int
    end_ms: int
    regime: Regime
    late_ms: float
    """An SMS that waited longer is late."""
    forms: dict[tuple[int, str, str], _Form]
    """By purpose code, shape of the document and fault."""
    tallies: dict[str, _Tally]
    """By owner, of the whole day."""


class Judge:
    """Judges one partition; what it judged or took note of is the past of the next row."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._tallies: dict[int, dict[str, _Tally]] = {}
        self._refusals: dict[str, list[int]] = {}
        """When a phone's refused SMS of an owner arrived, s, in order; by both."""
        self._stretches: dict[int, list[_Stretch]] = {}
        self._last = self._stretch_at(0)

    def judge(self, row: AuditRow, was: str, decided_ms: int) -> Verdict:
        """What the policy says to a row. `was` is its letter in the trail, which tells of lists and busy phones."""
        stretch, asked_ms = self._last, row.asked_ms
        if not stretch.start_ms <= asked_ms < stretch.end_ms:
            stretch = self._last = self._stretch_at(asked_ms)
        if row.arrived_ms < asked_ms and (regime := self._policy.at(row.arrived_ms)) is not stretch.regime:
            # A gateway's clock was ahead, across a change: the rules are those of the arrival.
            stretch = msgspec.structs.replace(stretch, regime=regime, late_ms=_late_ms(regime), forms={})
        form = stretch.forms.get((row.asked, row.shape, row.fault)) or self._form(stretch, row)
        letter = form.letter
        tally = stretch.tallies.get(row.owner)
        if was == BUSY and stretch.regime.limits.documents_per_sender is not None:
            letter = BUSY
        elif letter == APPROVED:
            if decided_ms - asked_ms > stretch.late_ms:
                letter = _LATE
            elif was == BLOCKED and form.is_barred:
                letter = BLOCKED
            elif tally is not None:
                letter = _judged(form.rules, stretch.regime.limits, tally, row.sender[:_SENDER_DIGITS])
        return letter, form.purpose, self._record(stretch, tally, row, letter, form.purpose)

    def note(self, row: AuditRow, was: str) -> None:
        """Take a row as it was decided."""
        stretch = self._stretch_at(row.asked_ms)
        self._record(stretch, stretch.tallies.get(row.owner), row, was, row.purpose)

    def settle(self, settled: AuditSettled) -> None:
        """Give permits back that were cancelled while they were held, as far as this policy gave them."""
        for row in settled.rows if settled.became == "withdrawn" else ():
            self.give_back(row.owner, row.asked_ms, row.purpose)

    def give_back(self, owner: str, asked_ms: int, purpose: int) -> None:
        """Give one permit of an owner and day back, if this policy gave it."""
        tally = self._stretch_at(asked_ms).tallies.get(owner)
        if tally is not None and purpose in tally.permits:
            at = tally.permits.index(purpose)
            tally.permits = tally.permits[:at] + tally.permits[at + 1 :]

    def _record(self, stretch: _Stretch, tally: _Tally | None, row: AuditRow, letter: str, purpose: int) -> bool:
        """Add a decision to its owner's past; whether it goes unanswered."""
        # Who was turned away as one phone too many does not become known by it.
        phones = () if letter == _ABUSE else (row.sender[:_SENDER_DIGITS],)
        if tally is None:
            stretch.tallies[row.owner] = _Tally(1, phones, (purpose,) if letter == APPROVED else ())
        else:
            tally.requests += 1
            if phones and phones[0] not in tally.phones:
                tally.phones += phones
            if letter == APPROVED:
                tally.permits += (purpose,)
        if letter in _NO_REFUSAL:
            return False
        arrived_s = row.arrived_ms // 1000
        refused = row.owner + row.sender[:_SENDER_DIGITS]
        refused_s = self._refusals.get(refused)
        if refused_s is None:
            self._refusals[refused] = [arrived_s]
            return False
        most = stretch.regime.limits.refusals_answered_per_hour
        lately = len(refused_s) - bisect_right(refused_s, arrived_s - REFUSALS_WINDOW_S)
        insort(refused_s, arrived_s)
        return most is not None and lately >= most

    def _form(self, stretch: _Stretch, row: AuditRow) -> _Form:
        """What texts of the row's form get in a stretch, for all of them."""
        fault: Fault | None = msgspec.convert(row.fault or None, Fault | None)
        reading = Reading(row.asked or None, row.shape or None, fault, "az")
        regime, asked_ms = stretch.regime, row.asked_ms
        # Decided at once, so that lateness, which is each row's own, stays out.
        reason = self._policy.refuses(regime, reading, asked_ms=asked_ms, now_ms=asked_ms)
        purpose = regime.purpose(reading.purpose)
        form = _Form(
            letter=APPROVED if reason is None else REFUSALS[reason],
            purpose=0 if purpose is None else purpose.code,
            rules=() if purpose is None else regime.rules_of(purpose),
            is_barred=purpose is not None and regime.lists_of(purpose.code) != (),
        )
        stretch.forms[row.asked, row.shape, row.fault] = form
        return form

    def _stretch_at(self, asked_ms: int) -> _Stretch:
        day = local_day(asked_ms)
        known = self._stretches.get(day)
        if known is None:
            known = self._stretches[day] = []
            self._tallies[day] = {}
            for old in [other for other in self._stretches if other < day - BEARING_DAYS]:
                del self._stretches[old], self._tallies[old]
        for stretch in known:
            if stretch.start_ms <= asked_ms < stretch.end_ms:
                return stretch
        cuts = sorted(_cuts(self._policy, day))
        at = bisect_right(cuts, asked_ms)
        regime = self._policy.at(asked_ms)
        stretch = _Stretch(cuts[at - 1], cuts[at], regime, _late_ms(regime), {}, self._tallies[day])
        known.append(stretch)
        return stretch


def _late_ms(regime: Regime) -> float:
    """An SMS that waited longer is late."""
    return inf if regime.late_minutes is None else regime.late_minutes * 60_000


def _judged(rules: tuple[Rule, ...], limits: Limits, tally: _Tally, phone: str) -> str:
    """The letter that limits and rules give to an owner with a past."""
    if limits.requests_per_document is not None and tally.requests >= limits.requests_per_document:
        return _ABUSE
    if limits.senders_per_document is not None and phone not in tally.phones:
        if len(tally.phones) >= limits.senders_per_document:
            return _ABUSE
    for rule in rules:
        if sum(1 for purpose in tally.permits if purpose in rule.purposes) >= rule.limit:
            return _QUOTA
    return APPROVED


def _cuts(policy: Policy, day: int) -> set[int]:
    """The moments of a day, its ends included, at which another rule may begin to hold."""
    start_ms, end_ms = day_start_ms(day), day_start_ms(day + 1)
    cuts = {start_ms, end_ms}
    for regime in policy.regimes:
        cuts.add(instant_ms(regime.start))
        if regime.until is not None:
            cuts.add(instant_ms(regime.until))
        for hours in (regime.curfew, *(purpose.hours for purpose in regime.purposes)):
            cuts |= set() if hours is None else _bounds(hours, start_ms)
    return {at for at in cuts if start_ms <= at <= end_ms}


def _bounds(hours: Hours, day_start_ms: int) -> set[int]:
    return {day_start_ms + (at.hour * 3600 + at.minute * 60 + at.second) * 1000 for at in (hours.start, hours.until)}
