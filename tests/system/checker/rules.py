"""The policy file, as far as the model asks it."""

import hashlib
import tomllib
from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime, time
from pathlib import Path
from typing import Any

from tests.system.checker.layout import BAKU


@dataclass(frozen=True)
class Purpose:
    """What a code asks for."""

    code: int
    minutes: int
    """0: no end."""
    limits: tuple[tuple[int, frozenset[int]], ...]
    """(how many permits, under these purposes) at which the next is refused."""
    hours: tuple[time, time] | None
    barred_by: frozenset[int]
    honoured_days: int


@dataclass(frozen=True)
class Regime:
    """The rules of a time."""

    from_ms: int
    until_ms: int | None
    is_off: bool
    curfew: tuple[time, time] | None
    late_minutes: int | None
    hold_minutes: dict[str, int]
    cancel_word: str | None
    purposes: dict[int, Purpose]
    limits: dict[str, int]


class Rules:
    """A policy file; ValueError, KeyError or OSError where it cannot be read."""

    def __init__(self, path: Path) -> None:
        raw = path.read_bytes()
        said: dict[str, Any] = tomllib.loads(raw.decode())
        self.version = f"{path.stem}-{hashlib.sha256(raw).hexdigest()[:8]}"
        self.lists: dict[str, int] = said.get("lists", {})
        self.regimes = sorted((_regime(one, self.lists) for one in said["regimes"]), key=lambda one: one.from_ms)
        documents = said["documents"]
        self._series = {one["prefix"]: set(one["digits"]) for one in documents["series"]}
        self._foreign: tuple[int, int] | None = tuple(documents.get("foreign_length", ())) or None  # pyright: ignore[reportAttributeAccessIssue]
        self.keep_days = max(
            [3] + [p.honoured_days for regime in self.regimes for p in regime.purposes.values() if not p.minutes]
        )

    def at(self, moment_ms: int) -> Regime:
        """The regime in force at an instant; before the first, the first."""
        return self.regimes[max(0, bisect_right(self.regimes, moment_ms, key=lambda one: one.from_ms) - 1)]

    def accepts(self, series: str, length: int) -> bool:
        """Whether a document counts: its series and how many digits follow; no series: a foreigner's of so many
        characters."""
        if series:
            return length in self._series.get(series, ())
        return self._foreign is not None and self._foreign[0] <= length <= self._foreign[1]


def holds(hours: tuple[time, time], at_ms: int) -> bool:
    """Whether an instant lies in a part of the day; across midnight where the end is not the later one."""
    now = datetime.fromtimestamp(at_ms // 1000, BAKU).time()
    start, until = hours
    return start <= now < until if start < until else now >= start or now < until


def _regime(said: dict[str, Any], lists: dict[str, int]) -> Regime:
    barred = [(lists[one["list"]], set(one.get("purposes", ()))) for one in said.get("barred", ())]
    cross = [(frozenset(one["after"]), set(one["no"])) for one in said.get("rules", ())]
    purposes: dict[int, Purpose] = {}
    for one in said.get("purposes", ()):
        code = one["code"]
        own = [(one["per_day"], frozenset({code}))] if "per_day" in one else []
        purposes[code] = Purpose(
            code,
            one.get("minutes", 0),
            tuple(own + [(1, after) for after, no in cross if code in no]),
            _hours(one.get("hours")),
            frozenset(number for number, under in barred if not under or code in under),
            one.get("honoured_days", 2),
        )
    return Regime(
        _instant_ms(said["from"]),
        _instant_ms(said["until"]) if "until" in said else None,
        said.get("off", False),
        _hours(said.get("curfew")),
        said.get("late_minutes"),
        said.get("hold_minutes", {}),
        said.get("cancel_word"),
        purposes,
        said.get("limits", {}),
    )


def _hours(said: dict[str, Any] | None) -> tuple[time, time] | None:
    return None if said is None else (_time(said["from"]), _time(said["until"]))


def _time(said: time | str) -> time:
    return said if isinstance(said, time) else time.fromisoformat(said)


def _instant_ms(said: datetime) -> int:
    return int((said if said.tzinfo else said.replace(tzinfo=BAKU)).timestamp() * 1000)
