"""`icaze bench NAME`: figures of this machine, each beside references measured in the same run.

A measurement is a module with `configure(parser)` and `measure(arguments)`, which returns a `Measurement`.
"""

import argparse
import signal
import sys
from typing import Any, Final

from bench import api_ratio, drain, epoch, holds, ingest, limit, memory, national_day, open_loop, peak, scale, soak
from bench.peers import command as peers

MEASUREMENTS: Final[dict[str, tuple[Any, str]]] = {
    "drain": (drain, "decisions a second of one worker, beside FastStream, a naive script and the server's own limit"),
    "ingest": (ingest, "acknowledgements at ten times the national peak, and ingest beside bare handlers"),
    "limit": (limit, "the server with the worker's own calls, prepared, and no other work of a client"),
    "peak": (peak, "the national peak, ten times that, and a burst, from each SMS's intended start to the operator"),
    "day": (national_day, "a national day through everything, as fast as it will go, then verified"),
    "memory": (memory, "lasting bytes a decided message"),
    "scale": (scale, "what a message costs as documents and partitions grow"),
    "soak": (soak, "days of traffic in an hour, by a clock put forward: what grows, and what must not"),
    "peers": (peers, "Celery, streaq, taskiq and FastStream with the same job; installs them at its first run"),
    "api": (api_ratio, "the api's speed as a share of a bare handler that answers the same bytes"),
    "open-loop": (open_loop, "latencies of the api, each from its question's intended start"),
    "epoch": (epoch, "a mass act on all organisations' permits: what it costs, and how soon it shows"),
    "holds": (holds, "approvals held back: how late each is told when its time comes"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """One parser a measurement."""
    measurements = parser.add_subparsers(dest="measurement", required=True, metavar="NAME")
    for name, (module, summary) in MEASUREMENTS.items():
        one = measurements.add_parser(name, help=summary, description=summary)
        module.configure(one)
        one.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """0 where a measurement was made and no promise broken in it; whether it was fast is for the reader to judge."""
    signal.signal(signal.SIGTERM, _end)
    measured = MEASUREMENTS[arguments.measurement][0].measure(arguments)
    if measured is None:
        return 0
    measured.show(as_json=arguments.json)
    for name in measured.broken():
        print(f"icaze bench {arguments.measurement}: {name} must be {measured.targets[name].least:g}", file=sys.stderr)
    return 1 if measured.broken() else 0


def _end(number: int, _: object) -> None:
    """As at Ctrl-C: what was started is ended first."""
    sys.exit(128 + number)
