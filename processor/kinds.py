"""What SMS of one kind come to before the rules are asked: the SMS of a batch are of a few kinds, each judged once.

A kind is what the policy looks at: code, shape of the document, fault, language, channel, and what of the time of an
SMS its regime takes into account. Used by `batch`.
"""

from collections.abc import Hashable
from typing import Final, Literal

import msgspec

from lua.calls import ASK, CANCEL
from permits.messages import Channel
from permits.outcomes import REFUSALS, Reason
from permits.policy import Policy
from permits.regimes import Purpose, Regime
from permits.sms import Reading
from processor.numbered import RULED, Numbered

Turn = Literal["cancels", "abuse_sender"]
"""What an SMS does, or is refused for, that its kind does not tell: its own words say so, or its phone."""
FOREVER: Final = 1 << 62
"""Later than any time in ms."""


class Kind(msgspec.Struct, frozen=True, gc=False):
    """What an SMS of a kind comes to."""

    letter: bytes
    """An outcome's, or ASK or CANCEL."""
    reason: Reason | None
    """Why it can have no permit; None: the rules decide, or it cancels one."""
    purpose: Purpose | None
    code: int
    """0 where the regime knows no such purpose."""
    rule: int
    frame: int
    """Places in the batch, of what it must pass and of the first of its answers."""
    minutes: int = 0
    hold: int = 0
    hour: int = 0
    """Place of the hour before which its permit ends, if it has arrived by now."""


class InForce:
    """One regime of a batch, the moments at which it holds, and the kinds of SMS seen under it."""

    def __init__(self, policy: Policy, moment_ms: int, numbered: Numbered, now_ms: int) -> None:
        regime, self.from_ms, self.until_ms = policy.span(moment_ms)
        self.regime: Final[Regime] = regime
        self.looks_at_clock: Final = regime.looks_at_clock
        self.late_before_ms: Final = -FOREVER if regime.late_minutes is None else now_ms - regime.late_minutes * 60_000
        """What was asked for before is late."""
        self.kinds: Final[dict[Hashable, Kind]] = {}
        self._policy = policy
        self._numbered = numbered
        self._now_ms = now_ms

    def judged(self, reading: Reading, channel: Channel | msgspec.UnsetType, asked_ms: int) -> Kind:
        """What an SMS comes to by its form."""
        reason = self._policy.refuses(self.regime, reading, asked_ms=asked_ms, now_ms=self._now_ms)
        purpose = self.regime.purpose(reading.purpose)
        if reason is not None or purpose is None:
            return self._refused(reading, reason or "malformed", purpose)
        numbered = self._numbered
        hold = self.regime.hold_minutes.get(channel or "sms", 0)
        return Kind(
            letter=ASK.encode(),
            reason=None,
            purpose=purpose,
            code=purpose.code,
            rule=numbered.rule(self.regime, purpose),
            frame=(
                numbered.refusals(self.regime, reading.lang, RULED, purpose.code)
                if hold
                else numbered.answers(self.regime, reading.lang, purpose)
            ),
            minutes=purpose.minutes or 0,
            hold=hold,
            hour=0 if hold else numbered.hour(purpose, 0),
        )

    def turned(self, reading: Reading, turn: Turn) -> Kind:
        """What it comes to where something else is the matter than its form."""
        purpose = self.regime.purpose(reading.purpose)
        if turn != "cancels":
            return self._refused(reading, turn, purpose)
        told = self._numbered.refusals(
            self.regime, reading.lang, ("cancelled", "nothing_to_cancel"), None if purpose is None else purpose.code
        )
        rule = self._numbered.rule(self.regime, None)
        return Kind(CANCEL.encode(), None, purpose, 0 if purpose is None else purpose.code, rule, told)

    def _refused(self, reading: Reading, reason: Reason, purpose: Purpose | None) -> Kind:
        code = 0 if purpose is None else purpose.code
        frame = self._numbered.refusals(self.regime, reading.lang, (reason,), code or None)
        return Kind(REFUSALS[reason].encode(), reason, purpose, code, self._numbered.rule(self.regime, None), frame)
