"""The rules in force at a time: dated regimes read from TOML, by the moment the SMS was received.

Reads a policy file (`policy.toml` beside this module is the default), whose words are in `regimes`. What does not fit
is refused with the file, the key and what would be valid.
"""

import hashlib
import math
from bisect import bisect_right
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec

from permits.calendar import day_start_ms, local_day
from permits.documents import shape
from permits.outcomes import Reason
from permits.policy_checks import at_fault, problems
from permits.regimes import Limits, PolicyFile, Purpose, Regime, Rule, instant_ms
from permits.sms import Reading

__all__ = ["DEFAULT_FILE", "Limits", "Policy", "PolicyError", "Purpose", "Regime", "Rule", "load", "parse"]

MOST_SHAPES: Final = 1024
DEFAULT_FILE: Final = Path(__file__).with_name("policy.toml")


class PolicyError(ValueError):
    """The policy file cannot be used; the message names file, key and what would be valid, a line a fault."""


class Policy:
    """All regimes in order, and which of them holds when."""

    def __init__(self, file: PolicyFile, version: str) -> None:
        self.documents = file.documents
        self.lists = file.lists
        self.zones = file.zones
        self.retention = file.retention
        self.version = version
        self.regimes = tuple(sorted(file.regimes, key=lambda r: instant_ms(r.start)))
        self._starts = [instant_ms(r.start) for r in self.regimes]
        # Asked for three in five SMS, of a few shapes: made up ones must not crowd out these, nor grow.
        self._accepts = lru_cache(MOST_SHAPES)(file.documents.accepts)

    def at(self, received_ms: int) -> Regime:
        """The regime in force at an instant; before the first regime, the first."""
        return self.span(received_ms)[0]

    def span(self, at_ms: int) -> tuple[Regime, float, float]:
        """The regime in force at an instant, from when on it is, and until when, in ms; the first has always been."""
        at = max(0, bisect_right(self._starts, at_ms) - 1)
        starts = self._starts
        return (
            self.regimes[at],
            starts[at] if at else -math.inf,
            starts[at + 1] if at + 1 < len(starts) else math.inf,
        )

    def refuses(self, regime: Regime, reading: Reading, *, asked_ms: int, now_ms: int) -> Reason | None:
        """Why a reading can have no permit whatever was decided before, or None where the rules decide.

        `asked_ms` is the moment of receipt, which chose the regime; `now_ms` that of the decision.
        """
        fault, document = reading.fault, reading.document
        if regime.is_off(asked_ms):
            return "regime_off"
        if fault == "ambiguous":
            return "ambiguous"
        if fault == "bad_document" or (document is not None and not self._accepts(shape(document))):
            return "bad_document"
        if fault is not None:
            return fault
        purpose = regime.purpose(reading.purpose)
        if purpose is None:
            return "unknown_code"
        if purpose.hours is not None and not purpose.hours.holds(asked_ms):
            return "hours"
        is_late = regime.late_minutes is not None and now_ms - asked_ms > regime.late_minutes * 60_000
        return "late" if is_late else None

    @property
    def keep_days(self) -> int:
        """How many days a day record must outlive its day: deduplication needs two, permits without end more."""
        return max([3, *self._honoured_days(None)])

    def endless_since_ms(self, code: int | None, now_ms: int) -> int:
        """Since when a permit without end, under a purpose or under any, must have begun to be honoured still by any of
        the regimes."""
        return day_start_ms(local_day(now_ms) + 1 - max(self._honoured_days(code), default=0))

    def _honoured_days(self, code: int | None) -> list[int]:
        return [
            purpose.honoured_days
            for regime in self.regimes
            for purpose in regime.purposes
            if purpose.minutes is None and code in (None, purpose.code)
        ]


def load(path: Path = DEFAULT_FILE) -> Policy:
    """Read and check a policy file; PolicyError says what is wrong and where."""
    try:
        return parse(path.read_bytes(), path)
    except OSError as error:
        raise PolicyError(f"{path}: {error.strerror}") from None


def parse(raw: bytes, path: Path) -> Policy:
    """The policy that a file's bytes say; PolicyError as `load`. `path` names it in errors and in its version."""
    try:
        file = msgspec.toml.decode(raw, type=PolicyFile)
    except msgspec.ValidationError as error:
        raise PolicyError(f"{path}: {at_fault(error)}") from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:  # too long a number, too deep a nesting
        raise PolicyError(f"{path}: not TOML: {error}") from None
    if found := list(problems(file)):
        raise PolicyError("\n".join(f"{path}: {problem}" for problem in found))
    return Policy(file, f"{path.stem}-{hashlib.sha256(raw).hexdigest()[:8]}")
