"""The api's speed as a share of a bare aiohttp handler that answers the same bytes, on one core, side by side.

Starts a whole system, asks about a document with a permit and one without, as status and as a check, and asks a bare
server of the same answer in turn. The server measured has a core of its own; the store and the load share the other.
Says the share of answers a second, and of the processor's time for an answer: the second tells more where other
programs run on the machine.
"""

import argparse
import asyncio
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final

import msgspec
import uvloop

from bench import api_house
from bench.arguments import positive, positive_number
from bench.line import Line, connected, hang_up, request_bytes

CONNECTIONS: Final = 128
"""Enough that the core measured does not stand idle while the disk syncs the records of checks."""
ROUNDS: Final = 7
TOKENS: Final = 32
"""Clients: so many that the budget of none, 2,000 questions a second, is spent."""
KNOWN: Final = "AZE1111111"
UNKNOWN: Final = "AZE9999999"
CASES: Final = (
    ("status_known", "/v1/status", "mygov", KNOWN),
    ("status_unknown", "/v1/status", "mygov", UNKNOWN),
    ("check_known", "/v1/checks", "police", KNOWN),
    ("check_unknown", "/v1/checks", "police", UNKNOWN),
)
_OWN_HEADERS: Final = {"date", "server", "content-length"}
"""Every aiohttp server adds these itself."""


class Server(msgspec.Struct, frozen=True):
    """One of the two that are compared, and what it is asked."""

    url: str
    pid: int
    requests: list[bytes]


class Speed(msgspec.Struct, frozen=True):
    """Answers a second, and processor time for each."""

    per_s: float
    cpu_us: float


def configure(parser: argparse.ArgumentParser) -> None:
    """How long."""
    parser.add_argument("--seconds", type=positive_number, default=1.5, help="of one server in one round (default 1.5)")
    parser.add_argument(
        "--connections", type=positive, default=CONNECTIONS, help="that ask, of either server (default %(default)s)"
    )
    parser.add_argument("--rounds", type=positive, default=ROUNDS, help="paired rounds (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """0 where everything was answered; the ratios are for the reader to judge."""
    server_core, other_core = _cores()
    os.sched_setaffinity(0, {other_core})  # and of all that is started from here
    figures: dict[str, float] = {}
    references: dict[str, float] = {}
    ratios: dict[str, float] = {}
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="icaze-ratio-") as name, api_house.opened(Path(name), {}) as house:
        _pin(house.pid("api"), server_core)
        house.run("send", f"2 {KNOWN}", "--from", "+994501234567")
        tokens = {role: house.tokens(role, TOKENS) for role in ("mygov", "police")}
        for case, path, role, document in CASES:
            body = json.dumps({"document": document}).encode()
            status, headers, answer = house.ask(path, tokens[role][0], body)
            if status != 200:
                notes.append(f"{case}: skipped, {path} answers {status}")
                continue
            with _bare(Path(name), path, headers, answer, server_core) as (bare_url, bare_pid):
                ours = Server(house.doors["api"], house.pid("api"), _requests(house, path, tokens[role], body))
                bare = Server(bare_url, bare_pid, ours.requests)
                pairs = _paired(ours, bare, arguments)
            for at, told, whose in ((0, figures, ""), (1, references, "_bare")):
                told[f"{case}{whose}_per_s"] = round(median(pair[at].per_s for pair in pairs))
                told[f"{case}{whose}_cpu_us"] = round(median(pair[at].cpu_us for pair in pairs), 1)
            ratios[case] = round(median(ours.per_s / bare.per_s for ours, bare in pairs), 3)
            ratios[f"{case}_cpu"] = round(median(bare.cpu_us / ours.cpu_us for ours, bare in pairs), 3)
    report = {
        "measurement": "api_ratio",
        "conditions": api_house.conditions(
            connections=arguments.connections, rounds=arguments.rounds, seconds=arguments.seconds, notes=notes
        ),
        "figures": figures,
        "references": references,
        "ratios": ratios,
    }
    print(json.dumps(report, indent=None if arguments.json else 2))
    return 0


def _requests(house: api_house.ApiHouse, path: str, tokens: Iterable[str], body: bytes) -> list[bytes]:
    return [request_bytes(house.doors["api"], path, token, body) for token in tokens]


def _paired(ours: Server, bare: Server, arguments: argparse.Namespace) -> list[tuple[Speed, Speed]]:
    """The speeds of both servers, round by round; which one begins alternates."""
    pairs: list[tuple[Speed, Speed]] = []
    for number in range(-1, arguments.rounds):  # the first round only warms both up
        first, second = (ours, bare) if number % 2 else (bare, ours)
        speeds = {
            server.pid: uvloop.run(_closed(server, arguments.connections, arguments.seconds))
            for server in (first, second)
        }
        if number >= 0:
            pairs.append((speeds[ours.pid], speeds[bare.pid]))
    return pairs


async def _closed(server: Server, connections: int, seconds: float) -> Speed:
    """The speed where every connection asks again as soon as it is answered."""
    count = 0
    refused = 0
    ends_s = time.perf_counter() + seconds
    request_of: dict[Line, bytes] = {}
    ended: set[Line] = set()
    all_ended = asyncio.Event()

    def answered(line: Line, status: int) -> None:
        nonlocal count, refused
        if status != 200:
            refused = status
            all_ended.set()
            return
        count += 1
        if time.perf_counter() < ends_s:
            line.ask(request_of[line])
            return
        ended.add(line)
        if len(ended) == connections:
            all_ended.set()

    lines = await connected(server.url, connections, answered)
    began_s, used_us = time.perf_counter(), _cpu_us(server.pid)
    for number, line in enumerate(lines):
        request_of[line] = server.requests[number % len(server.requests)]
        line.ask(request_of[line])
    await all_ended.wait()
    if refused:
        raise SystemExit(f"api_ratio: {server.url} answered {refused}")
    speed = Speed(count / (time.perf_counter() - began_s), (_cpu_us(server.pid) - used_us) / count)
    hang_up(lines)
    return speed


@contextmanager
def _bare(
    folder: Path, path: str, headers: dict[str, str], answer: bytes, core: int
) -> Generator[tuple[str, int], None, None]:
    """The bare server of one answer: its URL and process id."""
    kept = {name: value for name, value in headers.items() if name.lower() not in _OWN_HEADERS}
    file = folder / "answer.json"
    file.write_text(json.dumps({"path": path, "headers": kept, "body": base64.b64encode(answer).decode()}))
    command = [sys.executable, "-m", "bench.bare_server", str(file)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        port = process.stdout.readline().strip() if process.stdout else ""
        _pin(process.pid, core)
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait()


def _cpu_us(pid: int) -> float:
    """Processor time that all threads of a process have had."""
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e3


def _cores() -> tuple[int, int]:
    """One for the server measured, one for the rest."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("api_ratio: two cores are needed")
    return cores[0], cores[1]


def _pin(pid: int, core: int) -> None:
    """All threads of a process to one core."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(prog="python -m bench.api_ratio", description=__doc__)
    configure(_parser)
    sys.exit(run(_parser.parse_args()))
