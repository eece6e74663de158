"""`icaze bench drain`: how fast one worker empties a backlog, beside what it could be measured by in the same run.

Each round drains the same SMS on new stores: by `icaze process` with everything on (audit, deduplication over 48
hours, fence, counters, each batch on disk before the next), by replaying the worker's own calls (`bench.limit`), by a
naive script a message (`bench.naive`), and by FastStream where its environment stands (`bench.peers`).
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import msgspec

from bench import limit, naive, report
from bench.backlog import Backlog
from bench.peers import peer
from bench.role import role
from bench.spell import LOOK_S, PATIENCE_S, say, watch
from bench.store import Store, opened


class Drained(msgspec.Struct, frozen=True):
    """One drain of ours."""

    per_s: float
    worker_us: float
    server_append_us: float
    server_read_us: float
    server_decide_us: float
    server_dispatch_us: float
    worker_busy: float
    server_busy: float
    generator_busy: float


def configure(parser: argparse.ArgumentParser) -> None:
    """How much, how often, and beside whom."""
    report.configure(parser, messages=100_000)
    parser.add_argument("--no-peer", action="store_true", help="leave FastStream out")


def run(arguments: argparse.Namespace) -> int:
    """0; the ratios are for the reader to judge."""
    with tempfile.TemporaryDirectory(prefix="icaze-drain-") as name:
        measure(arguments, Path(name)).show(as_json=arguments.json)
    return 0


def measure(arguments: argparse.Namespace, folder: Path) -> report.Report:
    """All rounds, and their medians."""
    backlog = Backlog(arguments.messages, mix=arguments.mix, seed=arguments.seed, partitions=arguments.partitions)
    say("recording the worker's calls")
    calls = limit.record(backlog, folder)
    client = naive.client()
    references: dict[str, Callable[[], float]] = {
        "own_limit": lambda: limit.replay(backlog, calls, folder).per_s,
        "naive_script": lambda: naive.measure(client, arguments.messages, folder),
    }
    notes = {"naive_client": client}
    if not arguments.no_peer and peer.is_installed():
        references["faststream"] = lambda: peer.drain("faststream", backlog, arguments.messages, folder)
        notes["faststream"] = peer.version_of("faststream")
    elif not arguments.no_peer:
        say("FastStream is left out: `icaze bench peers` makes its environment")
    ours: list[Drained] = []
    beside: list[dict[str, float]] = []
    for number in range(arguments.repeats):
        names = list(references)
        turned = names[number % len(names) :] + names[: number % len(names)]
        say(f"round {number + 1} of {arguments.repeats}: the worker")
        ours.append(drain(backlog, folder))
        beside.append({})
        for name in turned:
            say(f"round {number + 1} of {arguments.repeats}: {name}")
            beside[-1][name] = references[name]()
    with opened(folder / "asked", fsync=True) as store:
        server = store.version
    figures = {name: median(getattr(one, name) for one in ours) for name in Drained.__struct_fields__}
    generator_busy = figures.pop("generator_busy")
    figures["server_us"] = sum(figures[name] for name in figures if name.startswith("server_") and name.endswith("_us"))
    return report.Report(
        "drain",
        report.conditions(
            arguments,
            server=server,
            **notes,
            reference_level="one sync a second; own_limit as ours",
            generator_busy=round(generator_busy, 3),
            rounds=[
                {"drain": round(own.per_s)} | report.rounded(other) for own, other in zip(ours, beside, strict=True)
            ],
        ),
        report.rounded({"drain_per_s": figures.pop("per_s")} | figures),
        report.rounded({f"{name}_per_s": median(each[name] for each in beside) for name in references}),
        report.rounded(
            {
                ("peer_faststream" if name == "faststream" else name): median(
                    own.per_s / each[name] for own, each in zip(ours, beside, strict=True)
                )
                for name in references
            }
        ),
    )


def drain(backlog: Backlog, folder: Path) -> Drained:
    """One drain on a new store, and then the replies taken away by a dispatcher."""
    count = backlog.messages
    with opened(folder / f"ours-{time.monotonic_ns()}", fsync=True) as store:
        before = store.cpu_us
        store.fill(backlog.appends())
        append_us = (store.cpu_us - before) / count
        with role("process", store.url, folder, len(backlog.partitions)) as worker:
            spell = watch(store, worker, backlog.inbound, count)
        dispatch_us = dispatched(store, backlog, folder) / count
    return Drained(
        per_s=count / spell.seconds,
        worker_us=spell.worker_us / count,
        server_append_us=append_us,
        server_read_us=spell.read_us / count,
        server_decide_us=(spell.server_us - spell.read_us) / count,
        server_dispatch_us=dispatch_us,
        worker_busy=spell.worker_us / 1e6 / spell.seconds,
        server_busy=spell.server_us / 1e6 / spell.seconds,
        generator_busy=spell.generator_us / 1e6 / spell.seconds,
    )


def dispatched(store: Store, backlog: Backlog, folder: Path) -> float:
    """The server's time, us, until a dispatcher has read, printed, acknowledged and trimmed all replies."""
    before = store.cpu_us
    with role("dispatch", store.url, folder, len(backlog.partitions)) as dispatcher:
        deadline = time.monotonic() + PATIENCE_S
        while store.lengths(backlog.replies):
            dispatcher.check()
            if time.monotonic() > deadline:
                raise SystemExit(f"icaze bench: replies not taken within {PATIENCE_S:.0f} s")
            time.sleep(10 * LOOK_S)
        return store.cpu_us - before
