"""The rules in force at a time: dated regimes read from TOML, by the moment the SMS was received.

Reads a policy file (`policy.toml` beside this module is the default). The language of this file is typed here;
what does not fit is refused with the file, the key and what would be valid.
"""

import hashlib
from bisect import bisect_right
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import msgspec

from permits.calendar import BAKU
from permits.documents import SeriesTable
from permits.messages import Lang
from permits.outcomes import Reason
from permits.sms import Reading

DEFAULT_FILE: Final = Path(__file__).with_name("policy.toml")
MAX_MINUTES: Final = 4095
"""A day record keeps the duration in twelve bits."""
MAX_HONOURED_DAYS: Final = 7


class PolicyError(ValueError):
    """The policy file cannot be used; the message names file, key and what would be valid."""


class Rule(msgspec.Struct, frozen=True):
    """Refuse with `reason` once `limit` permits under `purposes` stand for this document on this day."""

    limit: int
    purposes: tuple[int, ...]
    reason: Reason = "quota"


class Purpose(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one code asks for."""

    code: Annotated[int, msgspec.Meta(ge=1, le=255)]
    names: dict[Lang, Annotated[str, msgspec.Meta(min_length=1, max_length=32)]]
    minutes: Annotated[int, msgspec.Meta(ge=1, le=MAX_MINUTES)] | None = None
    """How long the permit runs; None: no end."""
    per_day: Annotated[int, msgspec.Meta(ge=1, le=100)] | None = None
    """Permits of this purpose a document and Baku day; None: no limit."""
    zone: dict[Lang, Annotated[str, msgspec.Meta(max_length=40)]] | None = None
    honoured_days: Annotated[int, msgspec.Meta(ge=1, le=MAX_HONOURED_DAYS)] = 2
    """On how many days, the decision's included, checks honour a permit without end."""
    extendable: bool = False
    """Whether an officer may extend it by a doctor's certificate."""

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The limits that a request under this purpose must pass, in order."""
        return () if self.per_day is None else (Rule(limit=self.per_day, purposes=(self.code,)),)


class Regime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rules from one moment until the next regime's."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=40, pattern=r"^[A-Za-z0-9._-]+$")]
    start: datetime = msgspec.field(name="from")
    purposes: tuple[Purpose, ...] = ()

    def purpose(self, code: int | None) -> Purpose | None:
        """The purpose of a code, or None where this regime does not know it."""
        for purpose in self.purposes:  # a few: a plain loop costs a third of a generator
            if purpose.code == code:
                return purpose
        return None


class PolicyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file as written."""

    documents: SeriesTable
    regimes: Annotated[tuple[Regime, ...], msgspec.Meta(min_length=1)]


class Policy:
    """All regimes in order, and which of them holds when."""

    def __init__(self, file: PolicyFile, version: str) -> None:
        self.documents = file.documents
        self.version = version
        self.regimes = tuple(sorted(file.regimes, key=lambda r: _start_ms(r.start)))
        self._starts = [_start_ms(r.start) for r in self.regimes]

    def at(self, received_ms: int) -> Regime:
        """The regime in force at an instant; before the first regime, the first."""
        return self.regimes[max(0, bisect_right(self._starts, received_ms) - 1)]

    def refuses(self, regime: Regime, reading: Reading) -> Reason | None:
        """Why a reading can have no permit whatever was decided before, or None where the quota decides."""
        fault, document = reading.fault, reading.document
        if fault == "ambiguous":
            return "ambiguous"
        if fault == "bad_document" or (document is not None and not self.documents.accepts(document)):
            return "bad_document"
        if fault is not None:
            return fault
        return None if regime.purpose(reading.purpose) is not None else "unknown_code"

    @property
    def keep_days(self) -> int:
        """How many days a day record must outlive its day: deduplication needs two, permits without end more."""
        honoured = [p.honoured_days for r in self.regimes for p in r.purposes if p.minutes is None]
        return max([3, *honoured])


def _start_ms(start: datetime) -> int:
    at = start if start.tzinfo is not None else start.replace(tzinfo=BAKU)
    return int(at.timestamp() * 1000)


def load(path: Path = DEFAULT_FILE) -> Policy:
    """Read and check a policy file; PolicyError says what is wrong and where."""
    try:
        raw = path.read_bytes()
        file = msgspec.toml.decode(raw, type=PolicyFile)
    except OSError as error:
        raise PolicyError(f"{path}: {error.strerror}") from None
    except msgspec.ValidationError as error:
        raise PolicyError(f"{path}: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PolicyError(f"{path}: not TOML: {error}") from None
    _check(path, file)
    return Policy(file, f"{path.stem}-{hashlib.sha256(raw).hexdigest()[:8]}")


def _check(path: Path, file: PolicyFile) -> None:
    starts = [_start_ms(r.start) for r in file.regimes]
    if len(set(starts)) != len(starts):
        raise PolicyError(f"{path}: regimes: two regimes start at the same moment")
    names = [r.name for r in file.regimes]
    if len(set(names)) != len(names):
        raise PolicyError(f"{path}: regimes: a name stands twice in {names}")
    for at, regime in enumerate(file.regimes):
        codes = [p.code for p in regime.purposes]
        if len(set(codes)) != len(codes):
            raise PolicyError(f"{path}: regimes[{at}].purposes: a code stands twice in {codes}")
        for purpose in regime.purposes:
            for lang in ("az", "ru", "en"):
                for what, texts in (("names", purpose.names), ("zone", purpose.zone)):
                    if texts is not None and lang not in texts:
                        raise PolicyError(
                            f"{path}: regimes[{at}].purposes (code {purpose.code}).{what}: "
                            f"no text for {lang!r}; az, ru and en are needed"
                        )
                    if texts is not None and any(c in '"\\' or c < " " for c in texts.get(lang, "")):
                        raise PolicyError(
                            f"{path}: regimes[{at}].purposes (code {purpose.code}).{what}.{lang}: "
                            "quotes, backslashes and control characters cannot stand in a reply"
                        )
