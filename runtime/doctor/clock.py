"""Whether the store's clock goes as ours does: leases, identities and days rest on clocks that neither jump nor differ.

Reads TIME several times within a second, beside our monotonic clock and our wall clock.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from runtime.doctor.finding import Finding, ms

SAMPLES: Final = 6
EVERY_S: Final = 0.2
MOST_JUMP_S: Final = 0.05
MOST_SKEW_S: Final = (1.0, 60.0)
"""Above, a warning; unsafe: ingest takes a gateway's time up to 120 s ahead of its own clock."""
_CHANGE: Final = "let one NTP service (chrony, systemd-timesyncd) slew the clock of each machine"


class Sample(msgspec.Struct, frozen=True):
    """One question and the clocks around it, in seconds."""

    mono_s: float
    """Monotonic, midway."""
    wall_s: float
    """Ours, midway."""
    store_s: float
    trip_s: float
    """There and back: nothing is known more exactly."""


class Clocks(msgspec.Struct, frozen=True):
    """Where times come from."""

    store_s: Callable[[], Awaitable[float]]
    wall_s: Callable[[], float] = time.time
    mono_s: Callable[[], float] = time.monotonic


async def sampled(clocks: Clocks, *, every_s: float = EVERY_S) -> list[Sample]:
    """SAMPLES looks at all three clocks."""
    found: list[Sample] = []
    for number in range(SAMPLES):
        if number:
            await asyncio.sleep(every_s)
        mono, wall = clocks.mono_s(), clocks.wall_s()
        store = await clocks.store_s()
        trip = clocks.mono_s() - mono
        found.append(Sample(mono + trip / 2, wall + trip / 2, store, trip))
    return found


def of_samples(samples: Sequence[Sample]) -> list[Finding]:
    """How far apart the clocks are, and whether one of them jumped meanwhile."""
    best = min(samples, key=lambda sample: sample.trip_s)
    skew_s = best.store_s - best.wall_s
    severity = "ok" if abs(skew_s) <= MOST_SKEW_S[0] else "warn" if abs(skew_s) <= MOST_SKEW_S[1] else "unsafe"
    way = "ahead" if skew_s >= 0 else "behind"
    found = [
        Finding(
            "clock skew",
            severity,
            f"the store's {way} by {ms(abs(skew_s))}, give or take {ms(best.trip_s / 2)}",
            f"at most {ms(MOST_SKEW_S[0])}",
            "" if severity == "ok" else _CHANGE,
        )
    ]
    for name, jump_s in (("store", _jump(samples, "store_s")), ("own", _jump(samples, "wall_s"))):
        bad = abs(jump_s) > MOST_JUMP_S
        found.append(
            Finding(
                f"{name} clock",
                "unsafe" if bad else "ok",
                f"{jump_s * 1000:+,.1f} ms against a steady clock, at worst between two looks",
                f"at most {ms(MOST_JUMP_S)}",
                _CHANGE if bad else "",
            )
        )
    return found


def _jump(samples: Sequence[Sample], clock: str) -> float:
    """The largest step of a clock against our monotonic one, s; steps that the trips leave in doubt are none."""
    steps: list[float] = []
    for before, after in pairwise(samples):
        step = (getattr(after, clock) - getattr(before, clock)) - (after.mono_s - before.mono_s)
        unsure = (before.trip_s + after.trip_s) / 2
        steps.append(0.0 if abs(step) <= unsure else step)
    return max(steps, key=abs, default=0.0)
