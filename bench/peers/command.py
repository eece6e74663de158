"""`icaze bench peers`: Celery, streaq, taskiq and FastStream with the same job on this machine, and our worker beside.

Makes their environment (a download) where it does not stand yet. No test runs this.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import median

from bench.arguments import backlog_conditions, of_backlog
from bench.backlog import Backlog
from bench.drain import PEER, drain
from bench.measurement import Measurement, conditions, rounded
from bench.peers import peer
from bench.spell import say


def configure(parser: argparse.ArgumentParser) -> None:
    """Which, how much and how often."""
    of_backlog(parser, messages=max(each.messages for each in peer.PEERS.values()))
    parser.add_argument("--only", choices=sorted(peer.PEERS), help="one of them")
    parser.add_argument("--install", action="store_true", help="make their environment and measure nothing")


def measure(arguments: argparse.Namespace) -> Measurement | None:
    """All rounds, and their medians; None where it was only to install."""
    if not peer.is_installed():
        peer.install()
    if arguments.install:
        return None
    names = [arguments.only] if arguments.only else list(peer.PEERS)
    rates: dict[str, list[float]] = {name: [] for name in ("drain", *names)}
    busy: list[float] = []
    with tempfile.TemporaryDirectory(prefix="icaze-peers-") as folder:
        backlog = Backlog.asked_for(arguments, Path(folder))
        for number in range(arguments.repeats):
            say(f"round {number + 1} of {arguments.repeats}: our worker")
            drained, _ = drain(backlog, Path(folder))
            rates["drain"].append(drained.per_s)
            busy.append(drained.generator_busy)
            for name in names:
                say(f"round {number + 1} of {arguments.repeats}: {name}")
                most = min(arguments.messages, peer.PEERS[name].messages)
                rates[name].append(peer.drain(name, backlog, most, Path(folder))["per_s"])
    return Measurement(
        measurement="peers",
        conditions=conditions(
            **backlog_conditions(arguments),
            generator_busy=median(busy),
            reference_level="one sync a second",
            most_messages={name: peer.PEERS[name].messages for name in names},
            versions={name: peer.version_of(name) for name in names},
        ),
        figures=rounded({"drain_per_s": median(rates["drain"])}),
        references=rounded({f"{name}_per_s": median(rates[name]) for name in names}),
        ratios=rounded(
            {
                f"peer_{name}": median(ours / theirs for ours, theirs in zip(rates["drain"], rates[name], strict=True))
                for name in names
            }
        ),
        targets={"peer_faststream": PEER} if "faststream" in names else {},
    )
