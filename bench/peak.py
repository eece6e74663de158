"""The national peak, ten times the national peak, and a burst: from the intended start of each SMS to the operator.

Three loads of a launch day, each pass through a system of its own with the http operator, verified at its end:
* `n1`: the peak second of a launch day at national size, held for longer than a second, one SMS a request;
* `n10`: the peak minute of ten times that, one SMS a request;
* `burst`: an aggregator's queue flushed after an outage, in arrays.

Where Locust is installed (`make install` installs it), its suite runs as well, once: see `bench/locustfile.py`.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Final

from bench import swarm
from bench.arguments import positive, positive_number
from bench.measurement import Measurement, Target, conditions, prefixed
from bench.passage import Load
from bench.passes import PROMISES, Pass, passes
from bench.spell import say

N1_PER_S: Final = 1000.0
N10_PER_S: Final = 3333.0
BURST_PER_S: Final = 10_000.0
ARRAY: Final = 100
NAMES: Final = ("n1", "n10", "burst")
TARGETS: Final = {
    "n1_sink_p99_ms": Target(1000, 200),
    "n10_sink_p99_ms": Target(1000, 200),
    "burst_last_reply_s": Target(10, 2),
    "burst_lag_max_s": Target(20, 2),
    **{name: promise for load in NAMES for name, promise in prefixed(load, PROMISES).items()},
}
"""At least: what the burst leaves behind is drained in ten seconds, so that no SMS waits longer than twice that."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Which loads, and for how long."""
    parser.add_argument("--n1-seconds", type=positive_number, default=10.0, help="at 1,000/s (default %(default)s)")
    parser.add_argument("--n10-seconds", type=positive_number, default=60.0, help="at 3,333/s (default %(default)s)")
    parser.add_argument("--burst-seconds", type=positive_number, default=10.0, help="at 10,000/s (default %(default)s)")
    parser.add_argument("--scale", type=positive_number, default=1.0, help="times every rate (default 1)")
    parser.add_argument(
        "--repeats",
        type=positive,
        default=3,
        help="passes of each load: medians are told, of promises the worst (default %(default)s, 6 min in all)",
    )
    parser.add_argument("--only", choices=NAMES, action="append", help="this load alone; repeatable")
    parser.add_argument("--folder", type=Path, help="where logs, journals and Locust's report go (default: a new one)")
    swarm.configure(parser)


def measure(arguments: argparse.Namespace) -> Measurement:
    """The loads one after the other, and Locust's suite."""
    folder: Path = arguments.folder or Path(tempfile.mkdtemp(prefix="icaze-peak-"))
    folder.mkdir(parents=True, exist_ok=True)
    measured = _pass_all(loads(arguments), folder, arguments.repeats)
    swarm.add(measured, arguments, folder)
    say(f"journals, logs and Locust's report: {folder}")
    return measured


def loads(arguments: argparse.Namespace) -> dict[str, Load]:
    """What the arguments ask for."""
    scale, chosen = arguments.scale, arguments.only or NAMES
    known = {
        "n1": Load(rate=N1_PER_S * scale, seconds=arguments.n1_seconds, seed=1),
        "n10": Load(rate=N10_PER_S * scale, seconds=arguments.n10_seconds, seed=10),
        "burst": Load(rate=BURST_PER_S * scale, seconds=arguments.burst_seconds, size=ARRAY, seed=100),
    }
    return {name: load for name, load in known.items() if name in chosen}


def _pass_all(named: dict[str, Load], folder: Path, repeats: int) -> Measurement:
    seen = {name: passes(load, folder / name, name, repeats=repeats) for name, load in named.items()}
    measured = Measurement(
        measurement="peak",
        conditions=conditions(
            messages=sum(load.requests * load.size for load in named.values()),
            mix="launch",
            repeats=repeats,
            generator_busy=max(one.generator_busy for one in seen.values()),
            signed=True,
            clock="from the intended start; the operator's in whole ms, rounded up",
            generator="open loop, on the same cores as the system, the store and the operator",
        ),
    )
    for name, load in named.items():
        add(measured, name, load, seen[name])
    measured.targets = {name: target for name, target in TARGETS.items() if name in measured.figures}
    return measured


def add(measured: Measurement, name: str, load: Load, seen: Pass) -> None:
    """One load's figures and plots."""
    measured.conditions[name] = f"{load.rate:g} SMS/s for {load.seconds:g} s, {load.size} a request"
    measured.figures |= prefixed(name, seen.figures)
    measured.references |= prefixed(name, seen.references)
    measured.plots += seen.plots
