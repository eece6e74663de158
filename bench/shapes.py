"""How many SMS a second arrive, second by second: the shapes of a load, and how many users make one.

Pure, and without Locust: `locustfile` turns a shape into Locust's own kind. A second of users that stand for ten SMS
a second is coarse; what the service promises is measured by `passage`, which keeps each SMS's own time.
"""

from collections.abc import Callable
from math import ceil
from typing import Final

import msgspec

from bench.intensity import PEAK_MINUTE, PEAK_SECOND_TIMES_MEAN, profile

SMS_PER_USER: Final = 10.0
"""A second, of each user that pushes, whatever the size of its requests."""
N1_A_DAY: Final = 5_400_000
N1_MEAN: Final = N1_A_DAY / 86_400
N1_MINUTE: Final = 333.0
N1_SECOND: Final = 1_000.0
N10_MINUTE: Final = 3_333.0
N10_BURST: Final = 10_000.0
BURST_S: Final = range(30, 40)
LAUNCH_FROM, LAUNCH_UNTIL = 8 * 60, 12 * 60
"""Minutes of the local day; the morning's are played a second each."""
ANNOUNCED_S: Final = 60.0
"""Of the evening: when the announcement ends and people take their phones."""
RUSH_S: Final = 15.0
PEAK_S: Final = 60.0
HALF_LIFE_S: Final = 60.0
EVENING_ENDS_S: Final = 420.0
STEP: Final = 500.0
STEP_S: Final = 20.0
STEPS: Final = 40
"""Twenty thousand SMS a second: if nothing broke before, this generator is what is measured."""
SOAK_S: Final = 1800.0
SOAK_PER_S: Final = 100.0
BROKEN_FAILURES: Final = 0.01
BROKEN_P95_MS: Final = 1_000.0

Rate = Callable[[float], float | None]
"""SMS a second at a time since the begin, in seconds; None: the shape has ended."""


class Shape(msgspec.Struct, frozen=True):
    """One of them, and what it tells."""

    rate: Rate
    about: str
    until_broken: bool = False


def launch(at_s: float) -> float | None:
    """The morning of a launch day at national size, a minute a second; its peak minute is played as its peak second."""
    minute = LAUNCH_FROM + int(at_s)
    if minute >= LAUNCH_UNTIL:
        return None
    return N1_MEAN * (PEAK_SECOND_TIMES_MEAN if minute == PEAK_MINUTE else _MINUTES[minute])


def evening(at_s: float) -> float | None:
    """An announcement on television: everybody within a quarter of a minute, then half as many every minute."""
    if at_s >= EVENING_ENDS_S:
        return None
    if at_s < ANNOUNCED_S:
        return N1_MEAN
    since_s = at_s - ANNOUNCED_S
    if since_s < RUSH_S:
        return N1_MEAN + (N1_SECOND - N1_MEAN) * since_s / RUSH_S
    if since_s < RUSH_S + PEAK_S:
        return N1_SECOND
    return max(N1_MEAN, N1_SECOND * 0.5 ** ((since_s - RUSH_S - PEAK_S) / HALF_LIFE_S))


def n1(at_s: float) -> float | None:
    """The peak minute of a launch day at national size, with its peak second."""
    if at_s >= 60:
        return None
    return N1_SECOND if int(at_s) == BURST_S.start else N1_MINUTE


def n10(at_s: float) -> float | None:
    """The peak minute of ten times that, with ten seconds of a queue flushed."""
    if at_s >= 60:
        return None
    return N10_BURST if int(at_s) in BURST_S else N10_MINUTE


def step(at_s: float) -> float | None:
    """Five hundred more every twenty seconds, until something breaks."""
    steps = int(at_s / STEP_S) + 1
    return None if steps > STEPS else steps * STEP


def soak(at_s: float) -> float | None:
    """Somewhat above a launch day's mean, for long."""
    return None if at_s >= SOAK_S else SOAK_PER_S


SHAPES: Final = {
    "launch": Shape(launch, "the morning of a launch day, a minute a second"),
    "evening": Shape(evening, "an announcement in the evening"),
    "n1": Shape(n1, "the national peak minute: 333/s, and a second of 1,000"),
    "n10": Shape(n10, "ten times the national peak: 3,333/s, and ten seconds of 10,000/s"),
    "step": Shape(step, "500/s more every 20 s until it breaks", until_broken=True),
    "soak": Shape(soak, "100/s for half an hour"),
}


def users(shape: Shape, at_s: float, *, scale: float = 1.0, stretch: float = 1.0) -> int | None:
    """How many users push at a time; None at the end. `scale` is of the rates, `stretch` of the time."""
    rate = shape.rate(at_s / stretch)
    return None if rate is None else max(1, ceil(round(rate * scale / SMS_PER_USER, 6)))


def broken(*, failures: float, p95_ms: float) -> bool:
    """Whether a load is more than the system takes."""
    return failures > BROKEN_FAILURES or p95_ms > BROKEN_P95_MS


_MINUTES: Final = profile()
