"""Several passes of one load, each through a system of its own, told as one: used by `ingest` and `peak`.

A figure is the median of all passes; what is promised is the worst of them; the curves are those of the pass in the
middle, by the 99th percentile at the operator.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec

from bench.measurement import Target
from bench.passage import Load, pass_through
from bench.spell import say

PROMISES: Final = {broken: Target(0, 0) for broken in ("requests_failed", "sms_rejected", "violations", "not_checked")}
BY: Final = "sink_p99_ms"


class Pass(msgspec.Struct, frozen=True):
    """What is told of one pass, or of all of them; the SMS themselves are let go."""

    figures: dict[str, float]
    references: dict[str, float]
    plots: list[dict[str, Any]]
    generator_busy: float
    """Of a core."""


def passes(load: Load, folder: Path, name: str, *, repeats: int) -> Pass:
    """So many passes of a load, told as one; the folder keeps the logs and journals of each."""
    each: list[Pass] = []
    for number in range(repeats):
        say(f"{name}: pass {number + 1} of {repeats}")
        seen = pass_through(load, folder / str(number + 1))
        busy = seen.cpu_us["push"] * load.rate / 1e6
        each.append(Pass(seen.figures(), seen.references(), seen.plots(name), busy))
    return together(each)


def together(each: Sequence[Pass]) -> Pass:
    """Medians, the worst of what is promised, and the plots of the pass in the middle."""
    figures = _medians([one.figures for one in each])
    figures |= {name: max(one.figures[name] for one in each) for name in PROMISES}
    middle = sorted(each, key=lambda one: one.figures[BY])[(len(each) - 1) // 2]
    references = _medians([one.references for one in each])
    return Pass(figures, references, middle.plots, median(one.generator_busy for one in each))


def _medians(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: median(one[name] for one in each) for name in each[0]}
