"""The words of every reply: a verdict in the sender's language, as frames to which the processor joins the
document's tail and the permit's code.

Reads `texts.toml` beside it, once.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, Self
from zoneinfo import ZoneInfo

import msgspec

from permits.gsm import plain
from permits.messages import Lang
from permits.outcomes import Reason
from permits.policy import Regime
from permits.regimes import Hours

Script = Literal["plain", "native"]

_BAKU: Final = ZoneInfo("Asia/Baku")
_MINUTE_MS: Final = 60_000

# A minute sees a frame for each language, purpose and zone; a burst of late decisions, a few minutes of them.
_FRAMES_KEPT: Final = 1024

# What would need an escape in JSON, or could not be sent as UTF-8.
_UNSAFE: Final = re.compile(r"[\\\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class _Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One language's table in `texts.toml`."""

    approval: str
    unlimited: str
    under: str
    either: str = msgspec.field(name="or")
    curfew: str
    cancelled: str
    cancelled_by_sms: str
    extended: str
    refusals: dict[Reason, str]


_WORDS: Final = msgspec.toml.decode(Path(__file__).with_name("texts.toml").read_bytes(), type=dict[Lang, _Words])


class Texts:
    """The replies of one regime, in one script; frames are kept, so a repeated call costs one look-up.

    `plain` is GSM-7 throughout, `native` keeps the letters of the language. `codes` are the purposes people may
    ask for, at least one; `hours` when, where not at any hour. No frame holds a double quote, a backslash or a control
    character.
    """

    def __init__(
        self,
        script: Script = "plain",
        codes: Sequence[int] = (1, 2, 3),
        *,
        hours: Mapping[int, Hours] | None = None,
        curfew: Hours | None = None,
    ) -> None:
        if not codes:
            raise ValueError("replies need at least one purpose code to offer")
        self._script: Final = script
        self._codes: Final = tuple(codes)
        self._hours: Final = hours or {}
        self._curfew: Final = curfew
        self._kept_approval = lru_cache(_FRAMES_KEPT)(self._approval)
        self._kept_refusal = lru_cache(_FRAMES_KEPT)(self._refusal)

    @classmethod
    def of(cls, regime: Regime, script: Script) -> Self:
        """The replies of a regime; one that is off offers code 1 in texts that it never sends."""
        hours = {purpose.code: purpose.hours for purpose in regime.purposes if purpose.hours is not None}
        # Past its end a regime is off at night too: with an end it does not speak of its nights.
        curfew = regime.curfew if regime.until is None else None
        return cls(script, [purpose.code for purpose in regime.purposes] or [1], hours=hours, curfew=curfew)

    def approval(
        self, lang: Lang, purpose: int, purpose_name: str, zone: str | None, from_ms: int, until_ms: int | None
    ) -> tuple[str, str, str]:
        """Frames (a, b, c) of the SMS `a + document_tail + b + permit_code + c`.

        Name and zone come in the language `lang`; times are Unix milliseconds, shown as local time with the
        seconds cut off; no `until_ms` means no restriction. In one segment of plain script fit a name of 32
        letters and a zone of 28.
        """
        until_min = None if until_ms is None else until_ms // _MINUTE_MS
        return self._kept_approval(lang, purpose, purpose_name, zone, from_ms // _MINUTE_MS, until_min)

    def refusal(self, lang: Lang, reason: Reason, purpose: int | None) -> tuple[str, str]:
        """Frames (before, after) of the SMS `before + document_tail + after`; where `after` is empty the reason
        is known without a document, and `before` alone is the SMS.

        With a `purpose` the texts of `quota`, `blocked`, `hours` and `zone` speak of that code alone, with None
        of all codes.
        """
        # Any code of three digits may be asked for: one that the text does not name must not crowd the cache.
        spoken_of = purpose if "{under}" in _WORDS[lang].refusals[reason] else None
        return self._kept_refusal(lang, reason, spoken_of)

    def cancelled_by_sms(self, lang: Lang) -> tuple[str, str]:
        """Frames (before, after) of the SMS `before + document_tail + after` to whoever has cancelled a permit."""
        before, _, after = _WORDS[lang].cancelled_by_sms.partition("{tail}")
        return self._written(before, {}), self._written(after, {})

    def cancelled(self, lang: Lang, permit: str) -> str:
        """The SMS that tells of a permit's cancellation by an officer, by its code."""
        return self._written(_WORDS[lang].cancelled, {"permit": permit})

    def extended(self, lang: Lang, permit: str, until_ms: int) -> str:
        """The SMS that tells of a permit's new end, Unix milliseconds, shown as local time."""
        until = datetime.fromtimestamp(until_ms // 1000, _BAKU)
        return self._written(_WORDS[lang].extended, {"permit": permit, "until": f"{until:%d.%m %H:%M}"})

    def _approval(
        self, lang: Lang, purpose: int, name: str, zone: str | None, from_min: int, until_min: int | None
    ) -> tuple[str, str, str]:
        words = _WORDS[lang]
        filled = {
            "purpose": str(purpose),
            "name": name,
            "window": _window(from_min, until_min, words.unlimited),
            "zone": f", {zone}" if zone else "",
        }
        before, _, rest = words.approval.partition("{tail}")
        between, _, after = rest.partition("{permit}")
        return self._written(before, filled), self._written(between, filled), self._written(after, filled)

    def _refusal(self, lang: Lang, reason: Reason, purpose: int | None) -> tuple[str, str]:
        words = _WORDS[lang]
        codes = [str(code) for code in self._codes]
        hours, curfew = self._hours.get(purpose or 0), self._curfew
        filled = {
            "open": "" if hours is None else f" ({hours.start:%H:%M}-{hours.until:%H:%M})",
            "curfew": "" if curfew is None else words.curfew.format(start=curfew.start, until=curfew.until),
            "under": "" if purpose is None else words.under.format(purpose=purpose),
            "codes": words.either.join(part for part in (", ".join(codes[:-1]), codes[-1]) if part),
            # The middle one: of 1, 2, 3 and of 1, 2 that is 2, the code that nine in ten messages ask for.
            "example": f"{codes[len(codes) // 2]} AZE 1111111",
        }
        before, _, after = words.refusals[reason].partition("{tail}")
        return self._written(before, filled), self._written(after, filled)

    def _written(self, frame: str, filled: dict[str, str]) -> str:
        text = frame.format_map(filled)
        if self._script == "plain":
            text = plain(text)
        # Names and zones are the policy's own words: an awkward character must not spoil a whole batch.
        return _UNSAFE.sub(" ", text.replace('"', "'"))


def _window(from_min: int, until_min: int | None, unlimited: str) -> str:
    """`23.11 14:05-17:05`, or with both dates where the days differ, in Baku's local time."""
    start = datetime.fromtimestamp(from_min * 60, _BAKU)
    if until_min is None:
        return f"{start:%d.%m %H:%M}, {unlimited}"
    end = datetime.fromtimestamp(until_min * 60, _BAKU)
    if start.date() == end.date():
        return f"{start:%d.%m %H:%M}-{end:%H:%M}"
    return f"{start:%d.%m %H:%M} - {end:%d.%m %H:%M}"
