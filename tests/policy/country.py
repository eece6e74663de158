"""A country under a policy: texts go in as people send them, and what they are told comes out."""

from collections.abc import Collection
from datetime import datetime
from typing import Final, NamedTuple

from permits.calendar import BAKU
from permits.decision import Model, Request
from permits.outcomes import APPROVED, REASON_OF, REFUSALS
from permits.policy import Policy
from permits.sms import read

ENDLESS: Final = 0


class Answer(NamedTuple):
    """What one SMS brought."""

    reason: str | None
    """None: a permit."""
    minutes: int | None = None
    """How long the permit runs; ENDLESS: no end."""
    told: bool = True
    """Whether a reply goes out."""


def permit(minutes: int) -> Answer:
    """A permit of some minutes, or ENDLESS."""
    return Answer(None, minutes)


def refused(reason: str) -> Answer:
    """A refusal that is told."""
    return Answer(reason)


def instant(text: str) -> int:
    """An instant by Baku's clock, ms."""
    return int(datetime.fromisoformat(text).replace(tzinfo=BAKU).timestamp() * 1000)


class Country:
    """People ask one after another, and what they were given counts for the next."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._model = Model()
        self._count = 0

    def ask(
        self,
        text: str,
        received: str,
        *,
        decided: str | None = None,
        sender: str = "+994501234567",
        stands_on: Collection[str] = (),
    ) -> Answer:
        """One SMS, decided when it is received unless said otherwise; its document stands on the lists named."""
        asked_ms = instant(received)
        now_ms = asked_ms if decided is None else instant(decided)
        reading = read(text)
        regime = self.policy.at(asked_ms)
        reason = self.policy.refuses(regime, reading, asked_ms=asked_ms, now_ms=now_ms)
        purpose = regime.purpose(reading.purpose)
        self._count += 1
        outcome = self._model.decide(
            Request(
                owner=reading.document or sender,
                identity=str(self._count),
                purpose=0 if purpose is None else purpose.code,
                asked_ms=asked_ms,
                arrived_ms=now_ms,
                refused=reason and REFUSALS[reason],
                rules=() if purpose is None else regime.rules_of(purpose),
                sender=sender,
                listed=purpose is not None and not set(stands_on).isdisjoint(regime.lists_of(purpose.code)),
                limits=regime.limits,
            )
        )
        if outcome.letter == APPROVED and purpose is not None:
            return Answer(None, purpose.minutes or ENDLESS, outcome.answered)
        return Answer(REASON_OF[outcome.letter], told=outcome.answered)
