"""The words of an approval, as JSON with room for the document's tail and the permit's code.

Used where an SMS is decided (`numbered`) and where an approval is told after its hold (`held_replies`).
"""

from typing import Final

from permits.calendar import DAY_MS, day_start_ms, local_day, rfc3339
from permits.messages import Lang
from permits.policy import Policy
from permits.regimes import Purpose
from permits.replies import Script, Texts

REPLY_WORTH_MS: Final = DAY_MS
"""A refusal, or a permit without end, is worth sending for a day."""

Frames = tuple[tuple[str, str], tuple[str, str]]
"""What stands before the code and before the tail; before the code again and after it."""


class Wordings:
    """The texts of each regime of the policy in force."""

    def __init__(self, script: Script) -> None:
        self._script: Script = script
        self._known: tuple[Policy, dict[str, Texts]] | None = None

    def of(self, policy: Policy) -> dict[str, Texts]:
        """By the regime's name."""
        if self._known is None or self._known[0] is not policy:
            self._known = policy, {regime.name: Texts.of(regime, self._script) for regime in policy.regimes}
        return self._known[1]


def approval(texts: Texts, purpose: Purpose, lang: Lang, from_ms: int) -> Frames:
    """The rest of a reply that approves, behind its head, for a permit that begins now."""
    until_ms = None if purpose.minutes is None else from_ms + purpose.minutes * 60_000
    zone = None if purpose.zone is None else purpose.zone[lang]
    before, between, after = texts.approval(lang, purpose.code, purpose.names[lang], zone, from_ms, until_ms)
    until = "null" if until_ms is None else f'"{rfc3339(until_ms)}"'
    expires = rfc3339(from_ms + REPLY_WORTH_MS if until_ms is None else until_ms)
    dates = f'","valid_from":"{rfc3339(from_ms)}","valid_until":{until},"expires_at":"{expires}","text":"{before}'
    return ('"verdict":"approved","reason":null,"permit":"', dates), (between, f'{after}"}}')


def joined(frames: Frames, permit: str, document_tail: str) -> str:
    """The rest of one reply."""
    (start, before), (between, after) = frames
    return start + permit + before + document_tail + between + permit + after


def ends_s(purpose: Purpose, from_s: int) -> int:
    """When a permit that begins now is over for certain, s: one without end, when checks honour it no more."""
    if purpose.minutes is None:
        return day_start_ms(local_day(from_s * 1000) + purpose.honoured_days) // 1000
    return from_s + purpose.minutes * 60
