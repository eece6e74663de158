"""`icaze bench scale`: what a message costs as the documents with records grow, as the partitions do, and on a Cluster.

Each round drains the same SMS, as `icaze bench drain` does, on stores that already hold records of so many other
documents of the day, on new stores of so many partitions, and over TCP on one server and a Cluster of three. Every
point stands beside the first of its series in the same round; the spread is the dearest point over the cheapest.
"""

import argparse
import struct
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final

import msgspec

from bench import cluster
from bench.arguments import backlog_conditions, of_backlog
from bench.backlog import Backlog
from bench.drain import Drained, drain, on_socket
from bench.measurement import Measurement, Target, conditions, rounded
from bench.spell import say
from bench.store import Command, Store
from lua.records import timing
from permits.calendar import day_name, local_day
from permits.outcomes import APPROVED

DOCUMENTS: Final = (100_000, 1_000_000)
FULL: Final = 10_000_000
PARTITIONS: Final = (1, 4, 16, 64)
PRIMARIES: Final = (1, 3)
"""One server, and a Cluster; a socket of its own kind is no choice for a Cluster, so both are reached over TCP."""
COSTS: Final = ("server_us", "worker_us")
SERIES: Final = ("documents", "partitions", "primaries")
FIELDS: Final = 500
"""Records of one HSET while they are planted."""
REWRITTEN_S: Final = 300.0
WITHIN: Final = Target(1.15, 1.05)
_DRAWN: Final = struct.Struct(">4s4s6s2s")
"""Drawn for a document: field and tag, its SMS's digest, the first bytes of the phone's hash."""
_RECORD: Final = struct.Struct(">4s6sII2sBc").pack
"""An entry as `lua.records` reads it."""


class Point(msgspec.Struct, frozen=True):
    """One size of one series, and what is drained there."""

    series: str
    size: int
    backlog: Backlog
    documents: int = 0
    """That have records beforehand."""
    primaries: int = 0
    """Reached over TCP; 0: one server on a Unix socket."""

    def stored(self, folder: Path) -> AbstractContextManager[Store]:
        """Its store, new."""
        return cluster.opened(folder, primaries=self.primaries) if self.primaries else on_socket(folder)

    @property
    def name(self) -> str:
        """Of its figures."""
        return f"{self.series}_{self.size}"


def configure(parser: argparse.ArgumentParser) -> None:
    """How much, how far, and which way."""
    of_backlog(parser, messages=100_000)
    parser.add_argument("--full", action="store_true", help=f"up to {FULL:,} documents (default {DOCUMENTS[-1]:,})")
    parser.add_argument("--only", choices=SERIES, help="one series alone")


def measure(arguments: argparse.Namespace) -> Measurement:
    """All series, or the one that was asked for."""
    documents = (*DOCUMENTS, FULL) if arguments.full else DOCUMENTS
    sizes = dict(zip(SERIES, (documents, PARTITIONS, PRIMARIES), strict=True))
    chosen = [arguments.only] if arguments.only else SERIES
    with tempfile.TemporaryDirectory(prefix="icaze-scale-") as name:
        return rounds(arguments, {series: sizes[series] for series in chosen}, Path(name))


def rounds(arguments: argparse.Namespace, sizes: Mapping[str, Sequence[int]], folder: Path) -> Measurement:
    """All rounds over the points of some series, and their medians."""
    points = _points(arguments, sizes, folder)
    seen: list[dict[str, Drained]] = []
    for number in range(arguments.repeats):
        seen.append({})
        for at in range(len(points)):  # each round begins with another one
            point = points[(at + number) % len(points)]
            say(f"round {number + 1} of {arguments.repeats}: {point.size:,} {point.series}")
            seen[-1][point.name], _ = drain(point.backlog, folder, partial(_plant, point), stored=point.stored)
    ratios: dict[str, float] = {}
    for series in sizes:
        ratios |= _ratios([point for point in points if point.series == series], seen)
    drained = [one for of_round in seen for one in of_round.values()]
    return Measurement(
        measurement="scale",
        conditions=conditions(
            **backlog_conditions(arguments),
            generator_busy=median(one.generator_busy for one in drained),
            documents="records of others, planted; the append-only file is written anew after that",
            primaries="over TCP, all on these cores; their time is added up",
            aof_rewrites=sum(one.aof_rewrites for one in drained),
        ),
        figures=rounded(
            {
                f"{point.name}_{figure}": median(getattr(of_round[point.name], figure) for of_round in seen)
                for point in points
                for figure in (*COSTS, "per_s")
            }
        ),
        ratios=rounded(ratios),
        targets={name: WITHIN for name in ratios if name.endswith("_spread")},
        plots=[plot for series in sizes for plot in _plots(series, points, seen)],
    )


def _points(arguments: argparse.Namespace, sizes: Mapping[str, Sequence[int]], folder: Path) -> list[Point]:
    backlogs: dict[int, Backlog] = {}

    def backlog(partitions: int) -> Backlog:
        if partitions not in backlogs:
            backlogs[partitions] = Backlog(
                arguments.messages, folder, mix=arguments.mix, seed=arguments.seed, partitions=partitions
            )
        return backlogs[partitions]

    documents = [Point("documents", n, backlog(arguments.partitions), n) for n in sizes.get("documents", ())]
    partitions = [Point("partitions", n, backlog(n)) for n in sizes.get("partitions", ())]
    of_primaries = sizes.get("primaries", ())
    return (
        documents
        + partitions
        + [Point("primaries", n, backlog(arguments.partitions), primaries=n) for n in of_primaries]
    )


def _ratios(points: Sequence[Point], seen: Sequence[Mapping[str, Drained]]) -> dict[str, float]:
    """Each point over the first one, a cost at a time, and how far the points lie apart."""
    told: dict[str, float] = {}
    first, *others = (point.name for point in points)
    for cost in COSTS:
        role = cost.removesuffix("_us")
        beside = {name: median(getattr(one[name], cost) / getattr(one[first], cost) for one in seen) for name in others}
        told |= {f"{name}_{role}": ratio for name, ratio in beside.items()}
        lowest, highest = min(1.0, *beside.values()), max(1.0, *beside.values())
        told[f"{points[0].series}_{role}_spread"] = highest / lowest
    return told


def _plots(series: str, points: Sequence[Point], seen: Sequence[Mapping[str, Drained]]) -> Iterator[dict[str, Any]]:
    """Curves over the sizes, as `report` draws them."""

    def line(figure: str) -> list[tuple[int, float]]:
        return [
            (point.size, round(median(getattr(of_round[point.name], figure) for of_round in seen), 2))
            for point in points
            if point.series == series
        ]

    costs = {cost.removesuffix("_us"): line(cost) for cost in COSTS}
    yield {"title": f"processor time a message over {series}", "kind": "sizes", "x": series, "y": "µs", "lines": costs}
    rate = {"one worker": line("per_s")}
    yield {"title": f"decisions a second over {series}", "kind": "sizes", "x": series, "y": "SMS/s", "lines": rate}


def _plant(point: Point, store: Store) -> None:
    """The records, and an append-only file that will not be written anew in the middle of the drain."""
    if not point.documents:
        return
    store.fill(planted(point.documents, point.backlog))
    store.client.execute_command("BGREWRITEAOF")
    deadline = time.monotonic() + REWRITTEN_S
    while any(store.client.info("persistence")[f"aof_rewrite_{name}"] for name in ("in_progress", "scheduled")):
        if time.monotonic() > deadline:
            raise SystemExit(f"icaze bench: the append-only file was not written anew within {REWRITTEN_S:.0f} s")
        time.sleep(0.1)


def planted(documents: int, backlog: Backlog) -> Iterator[Command]:
    """A permit of that day for each of so many documents that nobody asks about, spread evenly over the partitions."""
    day, arrived_s = day_name(local_day(backlog.arrived_ms)), backlog.arrived_ms // 1000
    packed = timing(arrived_s=arrived_s, decided_s=arrived_s, minutes=180, days_to_arrival=0)
    draw, letter = Random(documents).randbytes, APPROVED.encode()
    for number, keys in enumerate(backlog.partitions):
        share = (documents + number) // len(backlog.partitions)
        for start in range(0, share, FIELDS):
            some: list[bytes | str | int] = ["HSET", keys.day(day)]
            drawn = draw(_DRAWN.size * min(FIELDS, share - start))
            for field, tag, digest, sender in _DRAWN.iter_unpack(drawn):
                some += (field, _RECORD(tag, digest, arrived_s, packed, sender, 2, letter))
            yield some
