"""Other people's queues on Redis, doing the same job: dedup, quota, permit and reply by `naive.lua` for each message.

They live in an environment of their own (`.venv-peers`, from `requirements.lock`) that only `icaze bench peers` makes.
Each is run as its own documentation recommends, in one process; its messages have been read already.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from bench import naive
from bench.backlog import Backlog, PeerSms
from bench.role import running
from bench.spell import LOOK_S, say
from bench.store import PIPELINE, Store, opened

HERE: Final = Path(__file__).parent
PROGRAMS: Final = HERE / "programs"
ENVIRONMENT: Final = HERE.parents[1] / ".venv-peers"
LOCK: Final = HERE / "requirements.lock"
BIN: Final = ENVIRONMENT / "bin"
STALLED_S: Final = 20.0
"""Longer than any of them takes to start."""
SMS: Final = msgspec.json.Decoder(PeerSms)
PROBE: Final = (
    PeerSms("probe-1", "+994501234567", 2, "PROBE"),
    PeerSms("probe-1", "+994501234567", 2, "PROBE"),
    PeerSms("probe-2", "+994501234567", 2, "PROBE"),
    PeerSms("probe-3", "+994501234567", 0, "PROBE"),
)
"""What every peer is handed behind its messages: a repeat, a second permit of the day, and a text that was not read."""


class Peer(msgspec.Struct, frozen=True):
    """How one of them is started, and how many messages it gets: enough for some seconds."""

    work: tuple[str, ...]
    messages: int


PEERS: Final = {
    "faststream": Peer((str(BIN / "python"), "faststream_peer.py", "work"), 100_000),
    "taskiq": Peer(
        (str(BIN / "taskiq"), "worker", "taskiq_peer:broker", "--workers", "1", "--log-level", "WARNING"), 20_000
    ),
    "streaq": Peer((str(BIN / "streaq"), "run", "streaq_peer:worker"), 10_000),
    "celery": Peer(
        (str(BIN / "celery"), "-A", "celery_peer", "worker", "--concurrency", "1", "--loglevel", "WARNING"), 10_000
    ),
}


def is_installed() -> bool:
    """Whether their environment stands, and is the lock's."""
    stamp = ENVIRONMENT / "lock"
    return stamp.exists() and stamp.read_bytes() == LOCK.read_bytes()


def install() -> None:
    """Make it, or make it anew."""
    say(f"installing the peers into {ENVIRONMENT.name}")
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
    pip = [str(BIN / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    subprocess.run([*pip, "--require-hashes", "-r", str(LOCK)], check=True, stdout=sys.stderr)
    shutil.copy(LOCK, ENVIRONMENT / "lock")


def version_of(name: str) -> str:
    """The locked version."""
    pinned = (line.split() for line in LOCK.read_text().splitlines() if line.startswith(f"{name}=="))
    return next(words[0].partition("==")[2] for words in pinned)


def drain(name: str, backlog: Backlog, messages: int, folder: Path) -> dict[str, float]:
    """One peer from its first reply to its last: messages a second, processor time of its first process and the server.

    SystemExit where it did not do the job, of its messages or of the probe behind them.
    """
    lines = [*backlog.peer_sms[:messages], *map(msgspec.json.encode, PROBE)]
    trace = folder / f"{name}.ndjson"
    trace.write_bytes(b"\n".join(lines) + b"\n")
    wanted = verdicts(SMS.decode(line) for line in lines)
    with opened(folder / f"{name}-{time.monotonic_ns()}", fsync=False) as store:
        naive.load(store)
        environ = {**os.environ, "PEER_URL": store.url, "PYTHONPATH": str(PROGRAMS)}
        load = [str(BIN / "python"), f"{name}_peer.py", "load", str(trace)]
        subprocess.run(load, env=environ, cwd=PROGRAMS, check=True, stdout=sys.stderr)
        with running(PEERS[name].work, folder, environ, cwd=PROGRAMS) as process:
            began = moved = time.monotonic()
            spent, before = (process.cpu_us, store.cpu_us), 0
            while (replies := store.lengths(["replies"])) < wanted.total():
                process.check()
                now = time.monotonic()
                if replies == 0:
                    began, spent = now, (process.cpu_us, store.cpu_us)
                if replies != before:
                    before, moved = replies, now
                elif now - moved > STALLED_S:
                    raise SystemExit(f"icaze bench: {name} stands still at {replies} replies of {wanted.total()}")
                time.sleep(LOOK_S)
            seconds = time.monotonic() - began
            used = [after - was for after, was in zip((process.cpu_us, store.cpu_us), spent, strict=True)]
        for told, right in ((replied(store), wanted), (replied(store, to="probe-"), verdicts(PROBE))):
            if told != right:
                raise SystemExit(f"icaze bench: {name} told {dict(told)} and should have told {dict(right)}")
    return {"per_s": len(lines) / seconds, "worker_us": used[0] / len(lines), "server_us": used[1] / len(lines)}


def verdicts(messages: Iterable[PeerSms]) -> Counter[str]:
    """What the job must come to, whatever the order: a reply an id, a permit a document under code 2."""
    seen, permitted = set[str](), set[str]()
    told: Counter[str] = Counter()
    for sms in messages:
        if sms.id in seen:
            continue
        seen.add(sms.id)
        if not sms.purpose:
            told["malformed"] += 1
        elif sms.purpose == 2 and sms.document in permitted:
            told["quota"] += 1
        else:
            told["approved"] += 1
            if sms.purpose == 2:
                permitted.add(sms.document)
    return told


def replied(store: Store, *, to: str = "") -> Counter[str]:
    """What the replies in a store say to SMS whose ids begin so."""
    told: Counter[str] = Counter()
    start = "-"
    while entries := store.client.xrange("replies", start, "+", count=20 * PIPELINE):
        replies = [json.loads(fields[b"m"]) for _, fields in entries]
        told.update(reply["verdict"] for reply in replies if reply["id"].startswith(to))
        start = f"({entries[-1][0].decode()}"
    return told
