"""`icaze bench peers`: the drain rates of Celery, streaq, taskiq and FastStream with the same job, on this machine.

Makes their environment (a download) where it does not stand yet. No test runs this.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import median

from bench import outcome
from bench.backlog import Backlog
from bench.peers import peer
from bench.spell import say
from bench.store import opened


def configure(parser: argparse.ArgumentParser) -> None:
    """Which, how much and how often."""
    outcome.configure(parser, messages=max(each.messages for each in peer.PEERS.values()), repeats=1)
    parser.add_argument("--only", choices=sorted(peer.PEERS), help="one of them")
    parser.add_argument("--install", action="store_true", help="make their environment and measure nothing")


def run(arguments: argparse.Namespace) -> int:
    """0 where each did its job."""
    if not peer.is_installed():
        peer.install()
    if arguments.install:
        return 0
    names = [arguments.only] if arguments.only else list(peer.PEERS)
    rates: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(prefix="icaze-peers-") as name:
        folder = Path(name)
        backlog = Backlog(
            arguments.messages, folder, mix=arguments.mix, seed=arguments.seed, partitions=arguments.partitions
        )
        with opened(folder / "asked", fsync=False) as store:
            server = store.version
        for number in range(arguments.repeats):
            for each in names:
                say(f"round {number + 1} of {arguments.repeats}: {each}")
                most = min(arguments.messages, peer.PEERS[each].messages)
                rates[each].append(peer.drain(each, backlog, most, folder)["per_s"])
    told = outcome.conditions(arguments, server=server, versions={name: peer.version_of(name) for name in names})
    told |= {"level": "one sync a second", "most_messages": {name: peer.PEERS[name].messages for name in names}}
    figures = outcome.rounded({f"{name}_per_s": median(each) for name, each in rates.items()})
    outcome.Report("peers", told, figures, {}, {}).show(as_json=arguments.json)
    return 0
