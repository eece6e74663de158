"""`icaze bench drain`: how fast one worker empties a backlog, beside what it could be measured by in the same run.

Each round drains the same SMS on new stores: by `icaze process` with everything on (audit, deduplication over 48
hours, fence, counters, each batch on disk before the next), by replaying the worker's own calls (`bench.limit`), by a
naive script a message (`bench.naive`), and by FastStream where its environment stands (`bench.peers`).
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec

from bench import limit, naive, stacks
from bench.arguments import backlog_conditions, of_backlog
from bench.backlog import Backlog
from bench.measurement import Measurement, Target, conditions, rounded
from bench.peers import peer
from bench.role import role
from bench.spell import LOOK_S, PATIENCE_S, Spell, say, watch
from bench.store import Store, opened

PARTS: Final = ("append", "read", "decide", "dispatch")
"""Of the server's time a message."""
PEER: Final = Target(3, 4.5)
TARGETS: Final = {
    "peer_faststream": PEER,
    "naive_script": Target(1.05, 1.5),
    "own_limit": Target(0.85, 0.95),
    "server_us": Target(18, 12),
    "worker_us": Target(9, 5),
}


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
    worker_queued: float
    """Share of the time in which it could have run and had no core: take it off before comparing with other runs."""
    server_queued: float
    generator_busy: float
    aof_rewrites: float
    """How often the append-only file was written anew meanwhile, which takes the second core for seconds."""

    @property
    def server_us(self) -> float:
        """The server's time a message over the whole path."""
        return sum(getattr(self, f"server_{part}_us") for part in PARTS)


def configure(parser: argparse.ArgumentParser) -> None:
    """How much, how often, and beside whom."""
    of_backlog(parser, messages=100_000)
    parser.add_argument("--no-peer", action="store_true", help="leave FastStream out")
    parser.add_argument(
        "--profile", action="store_true", help="one more round, to see where the time goes (py-spy, perf)"
    )


def measure(arguments: argparse.Namespace) -> Measurement:
    """All rounds, and their medians."""
    with tempfile.TemporaryDirectory(prefix="icaze-drain-") as name:
        return _rounds(arguments, Path(name))


def _rounds(arguments: argparse.Namespace, folder: Path) -> Measurement:
    sampler = stacks.sampler() if arguments.profile else None
    backlog = Backlog.asked_for(arguments, folder)
    profiled: list[dict[str, Any]] = []
    if sampler is not None:
        say("a round to look at; where that may not be done, better now than after the others")
        profiled = stacks.profile(backlog, folder, sampler)
    client = naive.client()
    asked = _references(backlog, client, folder, with_peer=not arguments.no_peer)
    ours: list[Drained] = []
    spells: list[Spell] = []
    beside: list[dict[str, float]] = []
    for number in range(arguments.repeats):
        say(f"round {number + 1} of {arguments.repeats}: the worker")
        drained, spell = drain(backlog, folder)
        ours.append(drained)
        spells.append(spell)
        beside.append({})
        for at in range(len(asked)):  # each round begins with another one
            name, measured = asked[(at + number) % len(asked)]
            say(f"round {number + 1} of {arguments.repeats}: {name}")
            beside[-1] |= {f"{name}_{figure}": value for figure, value in measured().items()}
    figures = {name: median(getattr(one, name) for one in ours) for name in Drained.__struct_fields__}
    figures["server_us"] = sum(figures[f"server_{part}_us"] for part in PARTS)
    told = conditions(
        **backlog_conditions(arguments),
        generator_busy=figures.pop("generator_busy"),
        naive_client=client,
        reference_level="one sync a second; own_limit as ours",
    )
    told |= {"faststream": peer.version_of("faststream")} if "faststream_per_s" in beside[0] else {}
    told["rounds"] = [
        rounded({"drain_per_s": own.per_s, "worker_us": own.worker_us} | one)
        for own, one in zip(ours, beside, strict=True)
    ]
    return Measurement(
        measurement="drain",
        conditions=told,
        figures=rounded({"drain_per_s": figures.pop("per_s")} | figures),
        references=rounded({name: median(one[name] for one in beside) for name in beside[0]}),
        ratios=rounded(ratios(ours, beside)),
        targets=TARGETS,
        plots=plots(spells) + profiled,
    )


def ratios(ours: Sequence[Drained], beside: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Medians over the rounds; `_cpu` compares the worker's processor time, which other programs disturb least."""
    rounds = list(zip(ours, beside, strict=True))
    names = {"own_limit": "own_limit", "naive_script": "naive_script", "faststream": "peer_faststream"}
    told = {
        told_as: median(own.per_s / one[f"{name}_per_s"] for own, one in rounds)
        for name, told_as in names.items()
        if f"{name}_per_s" in beside[0]
    }
    if "peer_faststream" in told:
        told["peer_faststream_cpu"] = median(one["faststream_worker_us"] / own.worker_us for own, one in rounds)
    return told


def plots(spells: Iterable[Spell]) -> list[dict[str, Any]]:
    """How each round went, as `report` draws it."""
    named = {f"round {number}": spell for number, spell in enumerate(spells, 1)}
    seconds = {"kind": "lines", "x": "seconds from the first decision"}
    left = {name: [(round(at, 2), n) for at, n in spell.left[::10]] for name, spell in named.items()}
    rates = {name: spell.rates() for name, spell in named.items()}
    return [
        {"title": "drain: decisions a second", **seconds, "y": "SMS/s", "lines": rates},
        {"title": "drain: what is undecided", **seconds, "y": "SMS", "lines": left},
    ]


def _references(
    backlog: Backlog, client: str, folder: Path, *, with_peer: bool
) -> list[tuple[str, Callable[[], Mapping[str, float]]]]:
    """What is measured beside us, by name."""
    say("recording the worker's calls")
    calls = limit.record(backlog, folder)

    def own_limit() -> Mapping[str, float]:
        done = limit.replay(backlog, calls, folder)
        return {"per_s": done.per_s, "server_us": done.server_us}

    found: list[tuple[str, Callable[[], Mapping[str, float]]]] = [
        ("own_limit", own_limit),
        ("naive_script", lambda: naive.measure(client, backlog.messages, folder)),
    ]
    if with_peer and peer.is_installed():
        found.append(("faststream", lambda: peer.drain("faststream", backlog, backlog.messages, folder)))
    elif with_peer:
        say("FastStream is left out: `icaze bench peers` makes its environment")
    return found


def on_socket(folder: Path) -> AbstractContextManager[Store]:
    """A new server of a machine's own processes, as `icaze up` runs it."""
    return opened(folder, fsync=True)


def drain(
    backlog: Backlog,
    folder: Path,
    prepare: Callable[[Store], None] | None = None,
    *,
    stored: Callable[[Path], AbstractContextManager[Store]] = on_socket,
) -> tuple[Drained, Spell]:
    """One drain on a new store, prepared so, and then the replies taken away by a dispatcher."""
    count = backlog.messages
    with stored(folder / f"ours-{time.monotonic_ns()}") as store:
        if prepare is not None:
            prepare(store)
        forks, before = store.forks, store.cpu_us
        store.fill(backlog.appends())
        append_us = (store.cpu_us - before) / count
        with role("process", store.url, folder, len(backlog.partitions)) as worker:
            spell = watch(store, worker, backlog.inbound, count)
        dispatch_us = dispatched(store, backlog, folder) / count
        forks = store.forks - forks
    drained = Drained(
        per_s=count / spell.seconds,
        worker_us=spell.worker_us / count,
        server_append_us=append_us,
        server_read_us=spell.read_us / count,
        server_decide_us=(spell.server_us - spell.read_us) / count,
        server_dispatch_us=dispatch_us,
        worker_busy=spell.worker_us / 1e6 / spell.seconds,
        server_busy=spell.server_us / 1e6 / spell.seconds,
        worker_queued=spell.worker_queued_us / 1e6 / spell.seconds,
        server_queued=spell.server_queued_us / 1e6 / spell.seconds,
        generator_busy=spell.generator_us / 1e6 / spell.seconds,
        aof_rewrites=forks,
    )
    return drained, spell


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
