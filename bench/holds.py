"""`icaze bench holds`: approvals held back, pushed at a rate, and how late each is told when its time comes.

Runs `icaze up` with the http operator on free ports, an empty data folder and the founding rules with a hold of
`--minutes`. Each SMS asks for a document of its own, so each is approved, and all wait before the first is told. How
late each was is read from the audit trail: its release against its decision and its hold.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal

import redis

from bench.api_house import opened
from bench.machine import OwnTime
from bench.measurement import Measurement, Target, conditions
from bench.progress import passed_on
from bench.whole_path import ROLES, peak_mb, pushing, settings_of, sink, used, verify
from permits.messages import AUDIT_DECODER, ENCODER, SETTLED_DECODER
from permits.outcomes import APPROVED
from permits.policy import DEFAULT_FILE

Kind = Literal["inbound", "held", "replies"]
LATE: Final = b"late_minutes = 60"
PATIENCE_S: Final = 600.0
"""After the end of the last hold."""
PERCENTILES: Final = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1.0}


def configure(parser: argparse.ArgumentParser) -> None:
    """How many wait, and for how long."""
    parser.add_argument("--approvals", type=int, default=300_000)
    parser.add_argument("--minutes", type=int, default=2, help="the hold; all must be decided within it")
    parser.add_argument("--rate", type=int, default=3333, help="a second; ten times the national peak minute")
    parser.add_argument("--folder", type=Path, help="where trace, journal, log and data go (default: a new one)")


def measure(arguments: argparse.Namespace) -> Measurement:
    """The figures of one hold; nothing may be violated, and nothing told early."""
    folder: Path = arguments.folder or Path(tempfile.mkdtemp(prefix="icaze-holds-"))
    folder.mkdir(parents=True, exist_ok=True)
    return _held(arguments.approvals, arguments.minutes, arguments.rate, folder)


def _held(count: int, minutes: int, rate: int, folder: Path) -> Measurement:
    trace = _trace(folder, count)
    policy = folder / "held.toml"
    policy.write_bytes(DEFAULT_FILE.read_bytes().replace(LATE, LATE + b"\nhold_minutes = { sms = %d }" % minutes))
    with sink(folder) as operator:
        settings = settings_of(folder, operator) | {
            "ICAZE_POLICY_FILE": str(policy),
            "ICAZE_STORE_MEMORY_MB": "16000",
        }
        with opened(folder, settings) as house:
            store: Any = redis.Redis(unix_socket_path=house.doors["store"].removeprefix("unix://"))
            tags: list[str] = json.loads(store.get("layout") or b"{}")["tags"]
            idle, began, own = used(store), time.monotonic(), OwnTime()
            with pushing(trace, folder, house, "--rate", str(rate)) as replay:
                accepted = json.loads(replay.communicate()[0])["accepted"]
            pushed_s, busy = time.monotonic() - began, own.busy
            _emptied(store, tags, "inbound")
            waiting = _waiting(store, tags, "held")
            decided_s = time.monotonic() - began
            bytes_held = sum(store.memory_usage(f"held:{{{tag}}}", samples=0) or 0 for tag in tags)
            memory = used(store) - idle
            _emptied(store, tags, "held", within_s=minutes * 60 + PATIENCE_S)
            told_s = time.monotonic() - began
            _emptied(store, tags, "replies")
            lateness = sorted(late for tag in tags for late in _lateness(store, tag))
            peaks = {f"peak_mb_{role}": peak_mb(house.pid(role)) for role in ROLES}
            checks = verify(folder, house)["checks"]
    return Measurement(
        measurement="holds",
        conditions=conditions(
            messages=count,
            mix="approvals alone",
            generator_busy=busy,
            hold_minutes=minutes,
            rate=rate,
            generator="replay and sink on this machine",
        ),
        figures={
            "acknowledged": accepted,
            "pushed_s": round(pushed_s, 1),
            "decided_s": round(decided_s, 1),
            "waiting_at_once": waiting,
            "held_bytes_each": round(bytes_held / max(waiting, 1), 1),
            "store_mb_while_waiting": round(memory / 1e6),
            "told_s": round(told_s, 1),
            "told": len(lateness),
            "early": sum(1 for late in lateness if late < 0),
            **{f"lateness_ms_{name}": _at(lateness, share) for name, share in PERCENTILES.items()},
            **peaks,
            "violations": sum(check["violations"] for check in checks),
            "not_checked": sum(check["status"] == "not checked" for check in checks),
        },
        targets={"early": Target(0, 0), "violations": Target(0, 0)},
    )


def _trace(folder: Path, count: int) -> Path:
    at = folder / f"held-{count}.ndjson"
    if not at.exists():
        with at.open("wb") as out:
            for number in passed_on(range(count), count, doing="trace"):
                sms = {"id": f"h-{number}", "from": f"+99450{number:07d}", "to": "8103", "text": f"2 AZE {number:08d}"}
                out.write(ENCODER.encode(sms) + b"\n")
    return at


def _waiting(store: Any, tags: Iterable[str], kind: Kind) -> int:
    """Entries of a kind in all partitions."""
    pipe = store.pipeline(transaction=False)
    for tag in tags:
        (pipe.zcard if kind == "held" else pipe.xlen)(f"{kind}:{{{tag}}}")
    return sum(pipe.execute())


def _emptied(store: Any, tags: Iterable[str], kind: Kind, *, within_s: float = PATIENCE_S) -> None:
    """Returns when no entry of a kind is left."""
    deadline = time.monotonic() + within_s
    while _waiting(store, tags, kind):
        if time.monotonic() > deadline:
            raise SystemExit(f"{kind} not emptied within {within_s:.0f} s")
        time.sleep(0.2)


def _lateness(store: Any, tag: str) -> list[int]:
    """How late each approval of a partition was told, ms."""
    due: dict[str, int] = {}
    late: list[int] = []
    start = "-"
    while page := store.xrange(f"audit:{{{tag}}}", start, "+", count=200):
        for _, fields in page:
            if b"r" in fields:
                settled = SETTLED_DECODER.decode(fields[b"r"])
                late += [settled.at_ms - due.pop(row.entry_id) for row in settled.rows]
                continue
            batch = AUDIT_DECODER.decode(fields[b"m"])
            for row, letter in zip(batch.rows, fields[b"v"].decode(), strict=True):
                if letter == APPROVED:
                    due[row.entry_id] = batch.decided_ms + row.hold_minutes * 60_000
        start = f"({page[-1][0].decode()}"
    return late


def _at(ordered: list[int], share: float) -> int:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else -1
