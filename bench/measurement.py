"""What a measurement says: one JSON object, the same in kind for all, that programs read and `report` shows."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec


class Target(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a figure or ratio must reach at least, and should: which of the two is higher says which way is better."""

    least: float
    aim: float


class Measurement(msgspec.Struct, kw_only=True):
    """One object; `targets` and `plots` may be missing."""

    measurement: str
    conditions: dict[str, Any] = {}
    figures: dict[str, float] = {}
    references: dict[str, float] = {}
    ratios: dict[str, float] = {}
    targets: dict[str, Target] = {}
    """By the name of a figure or a ratio."""
    plots: list[dict[str, Any]] = []

    def failing(self) -> list[str]:
        """Names of what was seen and does not reach its least."""
        seen = self.ratios | self.figures
        return [name for name, target in self.targets.items() if name in seen and not reached(seen[name], target)]


def reached(seen: float, target: Target, *, aim: bool = False) -> bool:
    """Whether a value reaches its target; less is better unless the aim is above the least."""
    wanted = target.aim if aim else target.least
    return seen <= wanted if target.aim <= target.least else seen >= wanted


def prefixed(prefix: str, values: Mapping[str, float]) -> dict[str, float]:
    """Figures of one part of a measurement under a name of their own."""
    return {f"{prefix}_{name}": value for name, value in values.items()}


def say(measurement: Measurement, *, as_json: bool) -> None:
    """Print it: one line for programs; for people the plots are left out."""
    told = msgspec.to_builtins(measurement)
    if not as_json:
        told.pop("plots")
    print(json.dumps(told, indent=None if as_json else 2))
