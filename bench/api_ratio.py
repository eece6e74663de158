"""`icaze bench api`: the api's speed as a share of a bare aiohttp handler's that answers the same bytes, side by side.

Starts a whole system, asks about a document with a permit and one without, as status and as a check, and asks a bare
server of the same answer in turn. The server measured has a core of its own; the store and the load share the other.
Says the share of answers a second, and of the processor's time for an answer: the second tells more where other
programs run on the machine.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from bench import api_house
from bench.arguments import positive, positive_number
from bench.line import request_bytes
from bench.machine import cores, pin
from bench.measurement import Measurement, conditions
from bench.pairs import Compared, Server, fixed, paired

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


def configure(parser: argparse.ArgumentParser) -> None:
    """How long."""
    parser.add_argument("--seconds", type=positive_number, default=1.5, help="of one server in one round (default 1.5)")
    parser.add_argument(
        "--connections", type=positive, default=CONNECTIONS, help="that ask, of either server (default %(default)s)"
    )
    parser.add_argument("--rounds", type=positive, default=ROUNDS, help="paired rounds (default %(default)s)")


def measure(arguments: argparse.Namespace) -> Measurement:
    """All cases; SystemExit where a question is not answered."""
    server_core, other_core = cores()
    os.sched_setaffinity(0, {other_core})  # and of all that is started from here
    compared, rounds = Compared(), arguments.rounds
    notes: list[str] = []
    busy: list[float] = []
    with tempfile.TemporaryDirectory(prefix="icaze-ratio-") as name, api_house.opened(Path(name), {}) as house:
        pin(house.pid("api"), server_core)
        house.run("send", f"2 {KNOWN}", "--from", "+994501234567")
        tokens = {role: house.tokens(role, TOKENS) for role in ("mygov", "police")}
        for case, path, role, document in CASES:
            body = json.dumps({"document": document}).encode()
            status, headers, answer = house.ask(path, tokens[role][0], body)
            if status != 200:
                notes.append(f"{case}: skipped, {path} answers {status}")
                continue
            with fixed(Path(name), path, headers, answer, server_core) as (bare_url, bare_pid):
                ours = Server(house.doors["api"], house.pid("api"), _requests(house, path, tokens[role], body))
                bare = Server(bare_url, bare_pid, ours.requests)
                pairs = paired(ours, bare, rounds=rounds, seconds=arguments.seconds, connections=arguments.connections)
            compared.add(case, pairs)
            busy += [speed.generator_busy for pair in pairs for speed in pair]
    return Measurement(
        measurement="api",
        conditions=conditions(
            repeats=rounds,
            generator_busy=median(busy) if busy else None,
            connections=arguments.connections,
            seconds=arguments.seconds,
            notes=notes,
        ),
        **msgspec.structs.asdict(compared),
    )


def _requests(house: api_house.ApiHouse, path: str, tokens: Iterable[str], body: bytes) -> list[bytes]:
    return [request_bytes(house.doors["api"], path, token, body) for token in tokens]
