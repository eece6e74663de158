"""What many messages of one batch share, written once and named by its place: rule rows, frames of replies, hours.

Used by `batch`, in which a place is a byte of a message, counted from 1.
"""

from collections.abc import Sequence
from typing import Final, Literal

from lua.calls import rule_row
from permits.calendar import hour_end, rfc3339
from permits.messages import Lang
from permits.outcomes import Reason
from permits.policy import Policy
from permits.regimes import Purpose, Regime
from permits.replies import Texts
from processor.approvals import REPLY_WORTH_MS, approval, ends_s

MOST_NUMBERED: Final = 255
"""Places fit in one byte."""
Told = Reason | Literal["cancelled"]
"""What a frame tells: why there is no permit, or that there is none any more."""
MOST_ROWS: Final = 2
MOST_FRAMES: Final = 7
"""That one SMS may need: five frames as a request, two if it cancels, and a row of rules for each."""
RULED: Final[tuple[Reason, ...]] = ("quota", "abuse_document", "blocked")
"""Why rules, limits and lists refuse, in the order of their frames."""


class Numbered:
    """The shared parts of one batch, decided at one moment under one policy."""

    def __init__(self, policy: Policy, texts: dict[str, Texts], now_ms: int) -> None:
        self._policy = policy
        self._regime_texts = texts
        self._now_ms = now_ms
        self._now_s = now_ms // 1000
        self._refusal_expires = rfc3339(now_ms + REPLY_WORTH_MS)
        self.rules: list[bytes] = []
        self.frames: list[tuple[str, str]] = []
        self.hour_at: dict[int, int] = {}
        """Ends of hours, s since 1970, and their places."""
        self.is_full = False
        """Whether another entry might need a rule or a frame more than one byte can number."""
        self._rule_at: dict[tuple[str, int], int] = {}
        self._frame_at: dict[tuple[object, ...], int] = {}

    def rule(self, regime: Regime, purpose: Purpose | None) -> int:
        """Row of what a request under a purpose must pass, or of a refusal's limits alone, counted from 1."""
        key = (regime.name, 0 if purpose is None else purpose.code)
        at = self._rule_at.get(key)
        if at is None:
            lists = [] if purpose is None else [self._policy.lists[name] for name in regime.lists_of(purpose.code)]
            self.rules.append(rule_row(regime.limits, lists, () if purpose is None else regime.rules_of(purpose)))
            at = self._rule_at[key] = len(self.rules)
            self._grown()
        return at

    def hour(self, purpose: Purpose, arrived_s: int) -> int:
        """Number of the hour before which a permit ends, as its record will tell, counted from 1."""
        hour = hour_end(ends_s(purpose, max(self._now_s, arrived_s)))
        return self.hour_at.setdefault(hour, len(self.hour_at) + 1)

    def refusals(self, regime: Regime, lang: Lang, reasons: tuple[Told, ...], purpose: int | None) -> int:
        """Number of the first of the rests, one a reason, counted from 1."""
        key = (regime.name, lang, reasons, purpose)
        return self._frame_at.get(key) or self._placed(
            key, [self._refusal(regime, lang, reason, purpose) for reason in reasons]
        )

    def answers(self, regime: Regime, lang: Lang, purpose: Purpose) -> int:
        """Number of the first of the rests of a request: those of `RULED`, and two that are its approval."""
        key = (regime.name, lang, None, purpose.code)
        return self._frame_at.get(key) or self._placed(
            key,
            [
                *(self._refusal(regime, lang, reason, purpose.code) for reason in RULED),
                *approval(self._regime_texts[regime.name], purpose, lang, self._now_ms),
            ],
        )

    def _placed(self, key: tuple[object, ...], frames: Sequence[tuple[str, str]]) -> int:
        at = self._frame_at[key] = len(self.frames) + 1
        self.frames += frames
        self._grown()
        return at

    def _grown(self) -> None:
        self.is_full = len(self.rules) + MOST_ROWS > MOST_NUMBERED or len(self.frames) + MOST_FRAMES > MOST_NUMBERED

    def _refusal(self, regime: Regime, lang: Lang, reason: Told, purpose: int | None) -> tuple[str, str]:
        """What stands before and after the document's tail in a refusal, or where a permit was cancelled."""
        texts = self._regime_texts[regime.name]
        if reason == "cancelled":
            before, after = texts.cancelled_by_sms(lang)
            verdict = '"verdict":"cancelled","reason":null'
        else:
            before, after = texts.refusal(lang, reason, purpose)
            verdict = f'"verdict":"refused","reason":"{reason}"'
        start = (
            f'{verdict},"permit":null,"valid_from":null,"valid_until":null,'
            f'"expires_at":"{self._refusal_expires}","text":"{before}'
        )
        return (start, f'{after}"}}') if after else (start + '"}', "")
