"""`icaze bench limit`: what one server can do with the worker's own calls, prepared, and no other work of a client.

Records every call that a worker makes while it drains a backlog, puts the same backlog into a new store, and says the
same calls again: read the stream, decide, read the next. No part of the worker is left in the time.
"""

import argparse
import socket
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import hiredis
import msgspec

from bench import naive
from bench.arguments import backlog_conditions, of_backlog
from bench.backlog import Backlog
from bench.measurement import Measurement, conditions, rounded
from bench.recorder import Said, tapped
from bench.role import role
from bench.spell import READS, say, watch
from bench.store import opened, packed
from lua import library

AHEAD: Final = 32
"""Commands under way: sixteen batches and the reads after them, the most that a worker has."""
TAKEN: Final = 1 << 18


class Limit(msgspec.Struct, frozen=True):
    """One replay."""

    per_s: float
    server_us: float
    server_read_us: float
    server_decide_us: float
    client_busy: float


def configure(parser: argparse.ArgumentParser) -> None:
    """How much and how often."""
    of_backlog(parser, messages=100_000)


def measure(arguments: argparse.Namespace) -> Measurement:
    """All rounds, and their medians."""
    with tempfile.TemporaryDirectory(prefix="icaze-limit-") as name:
        return _rounds(arguments, Path(name))


def _rounds(arguments: argparse.Namespace, folder: Path) -> Measurement:
    backlog = Backlog.asked_for(arguments, folder)
    say("recording the worker's calls")
    calls = record(backlog, folder)
    client = naive.client()
    rounds: list[tuple[Limit, float]] = []
    for number in range(arguments.repeats):
        say(f"round {number + 1} of {arguments.repeats}")
        rounds.append((replay(backlog, calls, folder), naive.measure(client, arguments.messages, folder)["per_s"]))
    figures = {name: median(getattr(one, name) for one, _ in rounds) for name in Limit.__struct_fields__}
    return Measurement(
        measurement="limit",
        conditions=conditions(
            **backlog_conditions(arguments),
            generator_busy=figures.pop("client_busy"),
            naive_client=client,
            calls=sum(command[0] == b"FCALL" for command in calls),
        ),
        figures=rounded({"limit_per_s": figures.pop("per_s")} | figures),
        references=rounded({"naive_script_per_s": median(other for _, other in rounds)}),
        ratios=rounded({"naive_script": median(own.per_s / other for own, other in rounds)}),
    )


def record(backlog: Backlog, folder: Path) -> list[Said]:
    """What a worker says while it drains the backlog, its lanes' part of it, in order."""
    with opened(folder / f"recorded-{time.monotonic_ns()}", fsync=True) as store:
        store.fill(backlog.appends())
        through = store.folder / "tapped.sock"
        with tapped(store.socket, through) as recorder:
            with role("process", f"unix://{through}", folder, len(backlog.partitions)) as worker:
                watch(store, worker, backlog.inbound, backlog.messages)
            return recorder.commands


def replay(backlog: Backlog, calls: Sequence[Said], folder: Path) -> Limit:
    """The same calls on a new store with the same backlog; SystemExit where they do not decide all of it."""
    count = backlog.messages
    deciding = [call for call in calls if call[0] == b"FCALL"]
    said = [packed(tuple(call)) for call in calls]
    with opened(folder / f"limit-{time.monotonic_ns()}", fsync=True) as store:
        store.client.execute_command("FUNCTION", "LOAD", library.source())
        store.fill(backlog.appends())
        for call in deciding:
            fence, epoch = call[3], call[3 + int(call[2])]
            store.client.set(fence, epoch)
        before = store.cpu_us, store.call_us(*READS), time.process_time()
        began = time.perf_counter()
        replies = _say(store.socket, said)
        seconds = time.perf_counter() - began
        server_us, read_us = store.cpu_us - before[0], store.call_us(*READS) - before[1]
        client_s = time.process_time() - before[2]
        decided = sum(reply == b"decided" for reply in replies)
        if decided != len(deciding) or store.lengths(backlog.inbound):
            raise SystemExit(f"icaze bench: {decided} of {len(deciding)} calls decided when they were repeated")
    return Limit(
        per_s=count / seconds,
        server_us=server_us / count,
        server_read_us=read_us / count,
        server_decide_us=(server_us - read_us) / count,
        client_busy=client_s / seconds,
    )


def _say(path: Path, said: Sequence[bytes]) -> list[Any]:
    """Say all, some ahead of the answers; the first word of each answer to a call."""
    reader, words, answered = hiredis.Reader(), list[Any](), 0
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(path))
        sent = 0
        while answered < len(said):
            while sent < len(said) and sent - answered < AHEAD:
                line.sendall(said[sent])
                sent += 1
            reader.feed(line.recv(TAKEN))
            while (reply := reader.gets()) is not False:
                answered += 1
                if reply and not isinstance(reply, Exception):
                    words.append(reply[0])
    return words
