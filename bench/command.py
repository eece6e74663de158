"""`icaze bench MEASUREMENT`: figures of this machine, each beside references measured in the same run.

A measurement is a module with `configure(parser)` and `run(args) -> exit code`; what it prints is a `outcome.Report`.
"""

import argparse
import signal
import sys
from typing import Any, Final

from bench import drain, limit, memory
from bench.peers import command as peers

MEASUREMENTS: Final[dict[str, tuple[Any, str]]] = {
    "drain": (drain, "decisions a second of one worker, beside FastStream, a naive script and the server's own limit"),
    "limit": (limit, "the server with the worker's own calls, prepared, and no other work of a client"),
    "memory": (memory, "lasting bytes a decided message"),
    "peers": (peers, "Celery, streaq, taskiq and FastStream with the same job; installs them at its first run"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """One parser a measurement."""
    measurements = parser.add_subparsers(dest="measurement", required=True, metavar="MEASUREMENT")
    for name, (module, summary) in MEASUREMENTS.items():
        module.configure(measurements.add_parser(name, help=summary, description=summary))


def run(arguments: argparse.Namespace) -> int:
    """The measurement's exit code."""
    signal.signal(signal.SIGTERM, _end)
    return MEASUREMENTS[arguments.measurement][0].run(arguments)


def _end(number: int, _: object) -> None:
    """As at Ctrl-C: what was started is ended first."""
    sys.exit(128 + number)
