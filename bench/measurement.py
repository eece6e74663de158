"""What a measurement says: one object of one form for all, that `icaze bench` prints and `report` shows.

The form is the contract of `icaze bench NAME --json`; conditions begin with the machine and the store, for all alike.
"""

import json
import os
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec

from bench import store

T = TypeVar("T")
Reached = Literal["aim", "least", "short"]
PARTITIONS: Final = 64
"""Of a store, where nobody asks for another number."""


class Target(msgspec.Struct, frozen=True):
    """What a figure or ratio must reach at least, and should: which of the two is higher says which way is better."""

    least: float
    aim: float

    @property
    def must(self) -> bool:
        """Whether there is nothing to aim at beyond the least: a promise, and no matter of speed."""
        return self.least == self.aim


class Measurement(msgspec.Struct, kw_only=True):
    """One object; all but its name may be missing."""

    measurement: str
    conditions: dict[str, Any] = {}
    figures: dict[str, float] = {}
    references: dict[str, float] = {}
    ratios: dict[str, float] = {}
    targets: dict[str, Target] = {}
    """By the name of a figure or a ratio."""
    plots: list[dict[str, Any]] = []

    def reached(self, name: str) -> Reached | None:
        """How far what was seen under a target's name has come; None where nothing was."""
        seen = (self.ratios | self.figures).get(name)
        return None if seen is None else reached(seen, self.targets[name])

    def broken(self) -> list[str]:
        """Names of the promises that did not hold; how fast it was is for the reader to judge."""
        return [name for name, target in self.targets.items() if target.must and self.reached(name) == "short"]

    def show(self, *, as_json: bool) -> None:
        """Print it: one line for programs; a table for people, without the plots."""
        if as_json:
            told = msgspec.to_builtins(self)
            for name, target in told["targets"].items():
                target["reached"] = self.reached(name)
            print(json.dumps(told))
            return
        print(self.measurement)
        for title in ("conditions", "figures", "references", "ratios"):
            values: dict[str, Any] = getattr(self, title)
            if values:
                print(title)
                print("\n".join(self._lines(values, judged=title in ("figures", "ratios"))))

    def _lines(self, values: Mapping[str, Any], *, judged: bool) -> Iterator[str]:
        width = max(24, *map(len, values))
        for name, value in values.items():
            verdict = ""
            if judged and (target := self.targets.get(name)):
                verdict = f"  (least {target.least:g}, aim {target.aim:g}: {_VERDICTS[reached(value, target)]})"
            yield f"  {name:<{width}} {_shown(value)}{verdict}"


_VERDICTS: Final[dict[Reached, str]] = {"aim": "reached aim", "least": "reached least", "short": "short"}


def reached(seen: float, target: Target) -> Reached:
    """How far a value has come; less is better unless the aim is above the least."""

    def within(wanted: float) -> bool:
        return seen <= wanted if target.aim <= target.least else seen >= wanted

    return "aim" if within(target.aim) else "least" if within(target.least) else "short"


def conditions(
    *,
    messages: int = 0,
    mix: str = "none",
    partitions: int = PARTITIONS,
    repeats: int = 1,
    level: str = "fsync",
    own_store: bool = True,
    generator_busy: float | None = None,
    **more: object,
) -> dict[str, Any]:
    """What every measurement says about itself; the generator's share is of a core.

    None is what was not measured or, of a store that is not the measurement's own, not looked at.
    """
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "server": store.version() if own_store else None,
        "redis_py": version("redis") if own_store else None,
        "level": level if own_store else None,
        "partitions": partitions if own_store else None,
        "messages": messages,
        "mix": mix,
        "repeats": repeats,
        "generator_busy": None if generator_busy is None else round(generator_busy, 3),
        **more,
    }


def rounded(values: Mapping[str, float]) -> dict[str, float]:
    """Three digits behind the point are more than any of them is worth."""
    return {name: round(value) if value >= 1000 else round(value, 3) for name, value in values.items()}


def prefixed(prefix: str, values: Mapping[str, T]) -> dict[str, T]:
    """Figures or targets of one part of a measurement under a name of their own."""
    return {f"{prefix}_{name}": value for name, value in values.items()}


def _shown(value: object) -> str:
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int | float):
        return f"{value:,.3f}" if isinstance(value, float) and value < 100 else f"{value:,.0f}"
    return json.dumps(value)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    found = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return found or platform.processor() or platform.machine()
