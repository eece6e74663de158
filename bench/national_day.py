"""A whole day as fast as it will go: `icaze day` through ingest, decided, sent to the sink, then verified.

Runs `icaze up` with the http operator on free ports and an empty data folder, replays the day with a journal, waits
until the last reply is out, and lets `icaze verify` look for violations. The requests are written before the clock
starts. With `--kill-worker N` the worker is killed (-9) N times on the way; `up` starts it again. With
`--across-midnight` the SMS come as a backlog from both sides of a midnight at which the rules change.
"""

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import redis

from bench import midnight
from bench.api_house import ICAZE, ApiHouse, opened
from bench.arguments import positive
from bench.author import MIXES
from bench.machine import busy_us, cpu_us
from bench.measurement import Measurement, Target, conditions
from bench.spell import say
from bench.whole_path import ROLES, drained, entries, peak_mb, pushing, settings_of, sink_process, used, verify

NATIONAL: Final = 5_400_000
"""SMS of N1's launch day."""
SAMPLE_S: Final = 0.5
TARGETS: Final = {
    "whole_path_per_s": Target(15_000, 28_000),
    "violations": Target(0, 0),
    "not_checked": Target(0, 0),
    "unclean_stops": Target(0, 0),
}
NATIONAL_TARGETS: Final = {"last_reply_s": Target(360, 210)}


def configure(parser: argparse.ArgumentParser) -> None:
    """Size and mix of the day."""
    parser.add_argument("--messages", type=positive, default=1_000_000, help="SMS (default %(default)s)")
    parser.add_argument("--seed", type=int, default=8103, help="of the SMS (default %(default)s)")
    parser.add_argument("--mix", choices=sorted(MIXES), default="launch", help="of the SMS (default %(default)s)")
    parser.add_argument("--kill-worker", type=int, default=0, metavar="N", help="kill -9 the worker N times")
    parser.add_argument("--across-midnight", action="store_true", help="the rules change in the middle of the backlog")
    parser.add_argument(
        "--connections", type=positive, default=32, help="requests under way to ingest (default %(default)s)"
    )
    parser.add_argument("--folder", type=Path, help="where trace, journal, log and data go (default: a new one)")


def measure(arguments: argparse.Namespace) -> Measurement:
    """The day, as it went."""
    folder: Path = arguments.folder or Path(tempfile.mkdtemp(prefix="icaze-day-"))
    folder.mkdir(parents=True, exist_ok=True)
    measured = _passed(arguments, folder)
    say(f"trace, journal and logs: {folder}")
    return measured


def _passed(arguments: argparse.Namespace, folder: Path) -> Measurement:
    count: int = arguments.messages
    trace, settings, keeping = _trace(arguments, folder)
    with (
        sink_process(folder) as (operator, operator_pid),
        opened(folder, settings_of(folder, operator) | settings) as house,
    ):
        socket = house.doors["store"].removeprefix("unix://")
        store: Any = redis.Redis(unix_socket_path=socket)
        idle = used(store)
        beside = {"store": int(store.info("server")["process_id"]), "operator": operator_pid, "up": house.up.pid}
        words = ("--prepare", "--connections", str(arguments.connections), *keeping)
        ended_us = _ended_us()
        with pushing(trace, folder, house, *words) as replay:
            assert replay.stdout is not None
            replay.stdout.readline()  # all requests are written: the clock starts
            before, busy = _spent(house, beside) | {"push": ended_us + cpu_us(replay.pid)}, busy_us()
            began = time.monotonic()
            watch = Watch(redis.Redis(unix_socket_path=socket), began)
            watch.start()
            killed = _kill_workers(arguments.kill_worker, house, replay)
            acknowledged = json.loads(replay.communicate()[0])
        pushed_s = time.monotonic() - began
        drained(store)
        drained_s = time.monotonic() - began
        watch.end()
        after = _spent(house, beside) | {"push": _ended_us()}
        spent = {role: us - before[role] for role, us in after.items()}
        others = max(0.0, busy_us() - busy - sum(spent.values())) / 1e6 / drained_s
        memory = {role: peak_mb(house.pid(role)) for role in ROLES} | {"store": peak_mb(beside["store"])}
        trails = list(store.scan_iter("audit:*"))
        audit = sum(store.memory_usage(key, samples=0) or 0 for key in trails)
        calls = sum(store.xlen(key) for key in trails)  # an entry each
        kept = used(store) - idle
        verified = verify(folder, house)
        house.up.send_signal(signal.SIGTERM)
        stopped = house.up.wait(timeout=60)
    return Measurement(
        measurement="day",
        conditions=conditions(
            messages=count,
            mix=arguments.mix,
            generator_busy=spent["push"] / 1e6 / pushed_s,
            across_midnight=arguments.across_midnight,
            seed=arguments.seed,
            connections=arguments.connections,
            workers_killed=killed,
            others_busy_cores=round(others, 2),
            generator="replay and sink on the same machine",
        ),
        figures={
            "acknowledged": acknowledged["accepted"],
            "push_s": round(pushed_s, 1),
            "last_reply_s": round(drained_s, 1),
            "ingest_per_s": round(count / pushed_s),
            "whole_path_per_s": round(count / drained_s),
            "sms_a_decision": round(count / calls, 1),
            "approved": verified["approved"],
            "sent": verified["sent"],
            "ambiguous": verified["ambiguous"],
            "verify_s": verified["seconds"],
            "violations": sum(check["violations"] for check in verified["checks"]),
            "not_checked": sum(check["status"] == "not checked" for check in verified["checks"]),
            "unclean_stops": int(stopped != 0),
            "state_bytes": round((kept - audit) / count, 1),
            "audit_bytes": round(audit / count, 1),
            **{f"cpu_us_{role}": round(us / count, 1) for role, us in spent.items()},
            **{f"peak_mb_{role}": peak for role, peak in memory.items()},
        },
        targets=TARGETS | (NATIONAL_TARGETS if count == NATIONAL else {}),
        plots=watch.plots(),
    )


def _trace(arguments: argparse.Namespace, folder: Path) -> tuple[Path, dict[str, str], list[str]]:
    """The day's SMS, and what system and pusher need to know of them."""
    trace = folder / f"{arguments.mix}-{arguments.messages}-{arguments.seed}.ndjson"
    if not trace.exists():
        day = [*ICAZE, "day", "--messages", arguments.messages, "--seed", arguments.seed, "--mix", arguments.mix]
        subprocess.run([str(word) for word in (*day, "-o", trace)], check=True)
    if not arguments.across_midnight:
        return trace, {}, []
    at = midnight.latest(datetime.now(UTC))
    settings = {"ICAZE_POLICY_FILE": str(midnight.policy(folder, at))}
    return midnight.moved(trace, at), settings, ["--keep-times"]


class Watch(threading.Thread):
    """Looks at the store every half second, from the moment the clock started."""

    def __init__(self, store: Any, began_s: float) -> None:
        super().__init__(daemon=True)
        self._store = store
        self._began_s = began_s
        self._over = threading.Event()
        self._waiting: dict[str, list[tuple[float, float]]] = {"undecided": [], "unsent": []}
        self._memory: list[tuple[float, float]] = []

    def run(self) -> None:
        """Until `end`."""
        while not self._over.wait(SAMPLE_S):
            at = round(time.monotonic() - self._began_s, 2)
            self._waiting["undecided"].append((at, sum(entries(self._store, "inbound"))))
            self._waiting["unsent"].append((at, sum(entries(self._store, "replies"))))
            self._memory.append((at, round(used(self._store) / 1e6, 1)))

    def end(self) -> None:
        """Returns when it has looked for the last time."""
        self._over.set()
        self.join()
        self._store.close()

    def plots(self) -> list[dict[str, Any]]:
        """What it saw."""
        said = {"kind": "lines", "x": "s"}
        return [
            {"title": "day: what waited", "y": "SMS, replies", "lines": self._waiting, **said},
            {"title": "day: memory of the store", "y": "MB", "lines": {"used": self._memory}, **said},
        ]


def _kill_workers(times: int, house: ApiHouse, replay: "subprocess.Popen[bytes]") -> int:
    """Kill the worker at random moments while the replay runs; how often it struck. `up` keeps its port."""
    pause = random.Random(times)
    killed = 0
    while killed < times and replay.poll() is None:
        time.sleep(pause.uniform(3, 8))
        try:
            pid = house.pid("process")
        except OSError:
            continue  # not up again yet
        if replay.poll() is None:
            os.kill(pid, signal.SIGKILL)
            killed += 1
    return killed


def _spent(house: ApiHouse, beside: Mapping[str, int]) -> dict[str, float]:
    """Processor time that each role has had, us; of a worker that was killed its last process alone."""
    pids = {role: house.pid(role) for role in ROLES} | dict(beside)
    return {role: cpu_us(pid) for role, pid in pids.items()}


def _ended_us() -> float:
    """Of our children that have ended: the pusher adds to it, all others live on."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (ended.ru_utime + ended.ru_stime) * 1e6
