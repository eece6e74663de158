"""Two servers asked the same in turn, round by round, in one run: what one does as a share of what the other does.

Used by `api_ratio` and `ingest`, whose references are bare handlers. The share of answers a second depends on what else
the machine does; that of processor time for an answer does so less.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Final

import msgspec
import uvloop

from bench.bare_server import FixedAnswer
from bench.line import Line, connected, hang_up
from bench.machine import OwnTime, cpu_us, pin

OWN_HEADERS: Final = {"date", "server", "content-length"}
"""Every aiohttp server adds these itself."""


class Server(msgspec.Struct, frozen=True):
    """One of the two that are compared, and what it is asked."""

    url: str
    pid: int
    requests: Sequence[bytes]
    expected: int = 200


class Speed(msgspec.Struct, frozen=True):
    """Answers a second, processor time for each, and what asking took of a core."""

    per_s: float
    cpu_us: float
    generator_busy: float = 0.0


Pair = tuple[Speed, Speed]


class WrongAnswerError(Exception):
    """A server answered something else than what is measured. (A SystemExit in uvloop's loop would hang its end.)"""


class Compared(msgspec.Struct):
    """All pairs of a run, as its report tells them."""

    figures: dict[str, float] = {}
    references: dict[str, float] = {}
    ratios: dict[str, float] = {}

    def add(self, name: str, pairs: Sequence[Pair], *, each: int = 1) -> None:
        """The medians of one case's rounds, for things of which an answer stands for `each`."""
        for at, told, whose in ((0, self.figures, ""), (1, self.references, "_bare")):
            told[f"{name}{whose}_per_s"] = round(median(pair[at].per_s for pair in pairs) * each)
            told[f"{name}{whose}_cpu_us"] = round(median(pair[at].cpu_us for pair in pairs) / each, 1)
        self.ratios[name] = round(median(ours.per_s / bare.per_s for ours, bare in pairs), 3)
        self.ratios[f"{name}_cpu"] = round(median(bare.cpu_us / ours.cpu_us for ours, bare in pairs), 3)


def paired(
    ours: Server,
    bare: Server,
    *,
    rounds: int,
    seconds: float,
    connections: int,
    before: Callable[[], None] = lambda: None,
) -> list[Pair]:
    """The speeds of both servers, round by round; which one begins alternates. `before` each turn something is done."""
    pairs: list[Pair] = []
    for number in range(-1, rounds):  # the first round only warms both up
        speeds: dict[int, Speed] = {}
        for server in (ours, bare) if number % 2 else (bare, ours):
            before()
            try:
                speeds[server.pid] = uvloop.run(closed_loop(server, seconds, connections))
            except WrongAnswerError as error:
                raise SystemExit(str(error)) from None
        if number >= 0:
            pairs.append((speeds[ours.pid], speeds[bare.pid]))
    return pairs


async def closed_loop(server: Server, seconds: float, connections: int) -> Speed:
    """The speed where every connection asks again as soon as it is answered."""
    count = 0
    wrong = ""
    ends_s = time.perf_counter() + seconds
    request = cycle(server.requests)
    ended: set[Line] = set()
    all_ended = asyncio.Event()

    def answered(line: Line, status: int) -> None:
        nonlocal count, wrong
        if status != server.expected:
            wrong = f"{server.url} answered {status}: {line.answer[:200]!r}"
            all_ended.set()
            return
        count += 1
        if time.perf_counter() < ends_s:
            line.ask(next(request))
            return
        ended.add(line)
        if len(ended) == connections:
            all_ended.set()

    lines = await connected(server.url, connections, answered)
    own, began_s, used_us = OwnTime(), time.perf_counter(), cpu_us(server.pid)
    for line in lines:
        line.ask(next(request))
    await all_ended.wait()
    seconds_took, spent_us, busy = time.perf_counter() - began_s, cpu_us(server.pid) - used_us, own.busy
    hang_up(lines)
    if wrong:  # raised here, since what a line's callback raises goes to the loop, and nobody would wake up
        raise WrongAnswerError(wrong)
    return Speed(count / seconds_took, spent_us / count, busy)


@contextmanager
def serving(words: Sequence[str], core: int) -> Generator[tuple[str, int], None, None]:
    """A program that prints its port, on a core of its own: its URL and process id."""
    with subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True) as process:
        try:
            port = process.stdout.readline().strip() if process.stdout else ""
            pin(process.pid, core)
            yield f"http://127.0.0.1:{port}", process.pid
        finally:
            process.terminate()


@contextmanager
def fixed(
    folder: Path, path: str, headers: Mapping[str, str], answer: bytes, core: int, *, status: int = 200
) -> Generator[tuple[str, int], None, None]:
    """A bare server that answers the same bytes to everything: its URL and process id."""
    kept = {name: value for name, value in headers.items() if name.lower() not in OWN_HEADERS}
    file = folder / "answer.json"
    file.write_bytes(msgspec.json.encode(FixedAnswer(path, kept, answer, status)))
    with serving(["-m", "bench.bare_server", str(file)], core) as server:
        yield server
