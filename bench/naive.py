"""The reference that a thousand lines must beat: one script a message (`peers/naive.lua`), pipelined by nobody in
particular.

By `redis-benchmark -P 64` where that or `valkey-benchmark` is on PATH, else by a small client of our own that does the
same: 50 connections' worth of pipelines under way, arguments at random.
"""

import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import hiredis

from bench.store import Store, opened, packed

SCRIPT: Final = Path(__file__).parent / "peers" / "naive.lua"
OWN_CLIENT: Final = "own pipelining client"
PIPELINE: Final = 64
CLIENTS: Final = 50
TAKEN: Final = 1 << 18
SPREAD: Final = 20
"""Random arguments for each message: of 20, one in 40 messages meets an id or a document that was there before."""


def client() -> str:
    """Which client will ask: a benchmark program's name, or our own."""
    found = next((name for name in ("redis-benchmark", "valkey-benchmark") if shutil.which(name)), None)
    return f"{found} -P {PIPELINE}" if found else OWN_CLIENT


def call(sha: str, sms_id: str, sender: str, purpose: int, document: str) -> list[str]:
    """One message's EVALSHA (contract in naive.lua)."""
    keys = (f"seen:{sms_id}", f"quota:{document}", f"permit:{document}", "replies")
    return ["EVALSHA", sha, "4", *keys, sms_id, sender, str(purpose), "1" if purpose == 2 else "0", sms_id[-10:]]


def measure(by: str, messages: int, folder: Path) -> dict[str, float]:
    """Messages a second and the server's time for each, one sync a second; SystemExit where the job is not done."""
    with opened(folder / f"naive-{time.monotonic_ns()}", fsync=False) as store:
        sha = load(store)
        if by == OWN_CLIENT:
            draw = random.Random(messages).randrange
            most = messages * SPREAD
            calls = [call(sha, f"{draw(most):012d}", "+994501234567", 2, f"{draw(most):012d}") for _ in range(messages)]
            before = store.cpu_us
            per_s = pipelined(store.socket, calls)
        else:
            before = store.cpu_us
            per_s = _by_program(by.split()[0], sha, messages, store)
        done = store.calls_of("evalsha")  # redis-benchmark sends whole pipelines, and so may send more than it was told
        server_us = (store.cpu_us - before) / done
        replies = store.lengths(["replies"])
        if done < messages or not 0.9 * done < replies <= done:
            raise SystemExit(f"icaze bench: {replies} replies of the naive script to {done} messages")
        probe(store, sha)
    return {"per_s": per_s, "server_us": server_us}


def load(store: Store) -> str:
    """The script's name in the store."""
    return str(store.client.script_load(SCRIPT.read_text()))


def probe(store: Store, sha: str) -> None:
    """SystemExit where the script on that store lets a repeat or a second permit of the day pass."""
    asked = (("probe-1", 2), ("probe-1", 2), ("probe-2", 2), ("probe-3", 0))
    told = [store.client.execute_command(*call(sha, name, "+994501234567", code, "PROBE")) for name, code in asked]
    if told != [b"approved", b"duplicate", b"quota", b"malformed"]:
        raise SystemExit(f"icaze bench: the naive script answers {told}")


def pipelined(path: Path, calls: Iterable[Sequence[str]]) -> float:
    """Calls a second over one connection with as many under way as 50 clients have."""
    said = [packed(tuple(words)) for words in calls]
    blocks = [b"".join(said[at : at + PIPELINE]) for at in range(0, len(said), PIPELINE)]
    reader, answered, sent = hiredis.Reader(), 0, 0
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(path))
        began = time.perf_counter()
        while answered < len(said):
            while sent < len(blocks) and sent * PIPELINE - answered < CLIENTS * PIPELINE:
                line.sendall(blocks[sent])
                sent += 1
            reader.feed(line.recv(TAKEN))
            while (reply := reader.gets()) is not False:
                _check(reply)
                answered += 1
        return len(said) / (time.perf_counter() - began)


def _check(reply: Any) -> None:
    if isinstance(reply, Exception):
        raise SystemExit(f"icaze bench: the naive script failed: {reply}")


def _by_program(program: str, sha: str, messages: int, store: Store) -> float:
    drawn = "__rand_int__"
    command = [program, "-s", store.socket, "-P", PIPELINE, "-c", CLIENTS, "-n", messages, "-r", messages * SPREAD]
    words = [str(word) for word in (*command, "--csv", *call(sha, drawn, "+994501234567", 2, drawn))]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    # The line's first column is the whole command, quoted; the second is the rate.
    return float(said.strip().splitlines()[-1].rpartition("EVALSHA")[2].split('","')[1])
