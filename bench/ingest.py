"""Ingest: how late it acknowledges at ten times the national peak, and its speed beside bare handlers.

First SMS one by one through a whole system, open loop, 3,333 a second: the acknowledgement's latency from the intended
start, beside the disk's own sync. Then pairs, each server on a core of its own in turn, the store and the load on the
other; worker, dispatcher and api stand still meanwhile:
* `single`: one SMS a request, signed, against an aiohttp handler that answers 202 with the same bytes;
* `array`: a hundred, signed, against an aiohttp handler that reads the body and writes raw XADD packed by hiredis.
"""

import argparse
import json
import os
import signal
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import redis

from bench.api_house import ApiHouse, opened
from bench.arguments import positive, positive_number
from bench.machine import cores, pin
from bench.measurement import Measurement, Target, conditions
from bench.pairs import Compared, Server, fixed, paired, serving
from bench.passage import Load
from bench.passes import PROMISES, passes
from bench.posts import PATH, posts, settings

CONNECTIONS: Final = 64
ARRAY: Final = 100
ARRAY_CONNECTIONS: Final = 16
"""1,600 SMS under way: more wait longer, and no more of them get through."""
DISTINCT: Final = {1: 1_000, ARRAY: 50}
"""Requests of a size that are written before a pair and asked in turn."""
BYSTANDERS: Final = ("process", "dispatch", "api")
TARGETS: Final = {
    "ack_p99_ms": Target(50, 15),
    "single": Target(0.45, 0.65),
    "array": Target(0.35, 0.6),
    **PROMISES,
}


def configure(parser: argparse.ArgumentParser) -> None:
    """How much and how long."""
    parser.add_argument("--rate", type=positive_number, default=3333.0, help="SMS a second (default %(default)s)")
    parser.add_argument("--seconds", type=positive_number, default=30.0, help="of that load (default %(default)s)")
    parser.add_argument(
        "--repeats",
        type=positive,
        default=3,
        help="passes of that load: medians are told, of promises the worst (default %(default)s, 2 to 3 min)",
    )
    parser.add_argument("--rounds", type=positive, default=3, help="paired rounds (default %(default)s)")
    parser.add_argument(
        "--round-seconds", type=positive_number, default=2.0, help="of one server (default %(default)s)"
    )


def measure(arguments: argparse.Namespace) -> Measurement:
    """The load, then the pairs."""
    load = Load(rate=arguments.rate, seconds=arguments.seconds)
    with tempfile.TemporaryDirectory(prefix="icaze-ingest-") as name:
        rounds, round_s = arguments.rounds, arguments.round_seconds
        return load_and_pairs(load, Path(name), repeats=arguments.repeats, rounds=rounds, round_s=round_s)


def load_and_pairs(load: Load, folder: Path, *, repeats: int, rounds: int, round_s: float) -> Measurement:
    """Both, in an empty folder."""
    seen = passes(load, folder / "load", "ingest", repeats=repeats)
    compared = _compare(folder / "pairs", rounds=rounds, seconds=round_s)
    return Measurement(
        measurement="ingest",
        conditions=conditions(
            messages=load.requests * load.size,
            mix="launch",
            repeats=repeats,
            generator_busy=seen.generator_busy,
            signed=True,
            load=f"{load.rate:g} SMS/s for {load.seconds:g} s, one a request, open loop on the same cores",
            single=f"one SMS, {CONNECTIONS} connections",
            array=f"{ARRAY} SMS, {ARRAY_CONNECTIONS} connections",
            rounds=f"median of {rounds}, {round_s:g} s each, closed loop, the server measured alone on its core",
        ),
        figures=seen.figures | compared.figures,
        references=seen.references | compared.references,
        ratios=compared.ratios,
        targets=TARGETS,
        plots=seen.plots,
    )


def _compare(folder: Path, *, rounds: int, seconds: float) -> Compared:
    folder.mkdir()
    server_core, other_core = cores()
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {other_core})  # and of all that is started from here
    compared = Compared()
    try:
        with opened(folder, settings(folder)) as house:
            pid, url = house.pid("ingest"), house.doors["ingest"]
            pin(pid, server_core)
            with _standing_still(house):
                singles, arrays = (_requests(url, size) for size in (1, ARRAY))
                socket = house.doors["store"].removeprefix("unix://")
                emptied = partial(empty, socket)
                told = json.dumps({"accepted": 1, "ids": ["20260101-l8103-1234"], "rejected": []}).encode()
                headers = {"Content-Type": "application/json; charset=utf-8"}
                with fixed(folder, PATH, headers, told, server_core, status=202) as (bare_url, bare_pid):
                    ours, bare = Server(url, pid, singles, 202), Server(bare_url, bare_pid, singles, 202)
                    pairs = paired(ours, bare, rounds=rounds, seconds=seconds, connections=CONNECTIONS, before=emptied)
                compared.add("single", pairs)
                with serving(["-m", "bench.bare_ingest", socket], server_core) as (bare_url, bare_pid):
                    ours, bare = Server(url, pid, arrays, 202), Server(bare_url, bare_pid, arrays, 202)
                    pairs = paired(
                        ours, bare, rounds=rounds, seconds=seconds, connections=ARRAY_CONNECTIONS, before=emptied
                    )
                compared.add("array", pairs, each=ARRAY)
                empty(socket)
    finally:
        os.sched_setaffinity(0, allowed)
    return compared


def _requests(url: str, size: int) -> Sequence[bytes]:
    return [post.request for post in posts(url, DISTINCT[size], size=size, seed=size)]


@contextmanager
def _standing_still(house: ApiHouse) -> Generator[None, None, None]:
    """Nobody takes the core of the load: the rest of the system is stopped, and goes on afterwards."""
    pids = [house.pid(role) for role in BYSTANDERS]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def empty(socket: str) -> None:
    """Nothing is left of what was taken: a long round would else fill the streams up to the high-water mark."""
    store: Any = redis.Redis(unix_socket_path=socket)
    for key in store.scan_iter(count=1000, _type="stream"):
        store.xtrim(key, maxlen=0, approximate=False)
    store.close()
