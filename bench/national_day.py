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
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import redis

from bench import midnight
from bench.api_house import ICAZE, ApiHouse, opened
from bench.machine import busy_us, cpu_us
from bench.measurement import conditions
from bench.role import free_port

ROLES: Final = ("ingest", "process", "dispatch", "api")
DRAIN_S: Final = 900.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Size and mix of the day."""
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=8103)
    parser.add_argument("--mix", choices=("launch", "steady", "rule-change"), default="launch")
    parser.add_argument("--kill-worker", type=int, default=0, metavar="N", help="kill -9 the worker N times")
    parser.add_argument("--across-midnight", action="store_true", help="the rules change in the middle of the backlog")
    parser.add_argument(
        "--connections", type=int, default=32, help="requests under way to ingest (default %(default)s)"
    )
    parser.add_argument("--folder", type=Path, help="where trace, journal, log and data go (default: a new one)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """0 where nothing was violated."""
    folder: Path = arguments.folder or Path(tempfile.mkdtemp(prefix="icaze-day-"))
    folder.mkdir(parents=True, exist_ok=True)
    report = _measure(arguments, folder)
    if arguments.json:
        print(json.dumps(report))
    else:
        print(json.dumps(report, indent=2))
        print(f"trace, journal and logs: {folder}")
    return 0 if report["figures"]["violations"] == 0 else 1


def _measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    trace = folder / f"{arguments.mix}-{arguments.messages}-{arguments.seed}.ndjson"
    if not trace.exists():
        day = [*ICAZE, "day", "--messages", arguments.messages, "--seed", arguments.seed, "--mix", arguments.mix]
        subprocess.run([str(word) for word in (*day, "-o", trace)], check=True)
    settings, keeping = dict[str, str](), list[str]()
    if arguments.across_midnight:
        at = midnight.latest(datetime.now(UTC))
        trace, keeping = midnight.moved(trace, at), ["--keep-times"]
        settings["ICAZE_POLICY_FILE"] = str(midnight.policy(folder, at))
    with (
        sink_process(folder) as (operator, operator_pid),
        opened(folder, settings_of(folder, operator) | settings) as house,
    ):
        store: Any = redis.Redis(unix_socket_path=house.doors["store"].removeprefix("unix://"))
        idle = used(store)
        beside = {"store": int(store.info("server")["process_id"]), "operator": operator_pid, "up": house.up.pid}
        words = ("--prepare", "--connections", str(arguments.connections), *keeping)
        ended_us = _ended_us()
        with pushing(trace, folder, house, *words) as replay:
            assert replay.stdout is not None
            replay.stdout.readline()  # all requests are written: the clock starts
            before, busy = _spent(house, beside) | {"push": ended_us + cpu_us(replay.pid)}, busy_us()
            began = time.monotonic()
            killed = _kill_workers(arguments.kill_worker, house, replay)
            acknowledged = json.loads(replay.communicate()[0])
        pushed_s = time.monotonic() - began
        drained(store)
        drained_s = time.monotonic() - began
        after = _spent(house, beside) | {"push": _ended_us()}
        spent = {role: used - before[role] for role, used in after.items()}
        others = max(0.0, busy_us() - busy - sum(spent.values())) / 1e6 / drained_s
        memory = {role: peak_mb(house.pid(role)) for role in ROLES}
        memory["store"] = peak_mb(beside["store"])
        trails = list(store.scan_iter("audit:*"))
        audit = sum(store.memory_usage(key, samples=0) or 0 for key in trails)
        calls = sum(store.xlen(key) for key in trails)  # an entry each
        kept = used(store) - idle
        verified = verify(folder, house)
        house.up.send_signal(signal.SIGTERM)
        stopped = house.up.wait(timeout=60)
    count = arguments.messages
    return {
        "measurement": "national_day",
        "conditions": conditions(
            messages=count,
            mix=arguments.mix,
            across_midnight=arguments.across_midnight,
            seed=arguments.seed,
            connections=arguments.connections,
            workers_killed=killed,
            others_busy_cores=round(others, 2),
            generator="replay and sink on the same machine",
        ),
        "figures": {
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
            "state_bytes": round((kept - audit) / count, 1),
            "audit_bytes": round(audit / count, 1),
            **{f"cpu_us_{role}": round(us / count, 1) for role, us in spent.items()},
            **{f"peak_mb_{role}": peak for role, peak in memory.items()},
            "exit_code": stopped,
        },
    }


@contextmanager
def pushing(
    trace: Path, folder: Path, house: ApiHouse, *words: str
) -> Generator["subprocess.Popen[bytes]", None, None]:
    """`icaze replay` at work on a trace, with a journal of what was acknowledged."""
    journal = folder / "journal.ndjson"
    journal.unlink(missing_ok=True)
    command = [*ICAZE, "replay", str(trace), "--journal", str(journal), "--url", house.doors["ingest"], "--json"]
    with subprocess.Popen([*command, *words], stdout=subprocess.PIPE) as process:
        yield process


@contextmanager
def sink(folder: Path) -> Generator[str, None, None]:
    """The operator: its URL."""
    with sink_process(folder) as (url, _):
        yield url


@contextmanager
def sink_process(folder: Path) -> Generator[tuple[str, int], None, None]:
    """The operator: its URL and process id."""
    log = folder / "sink.ndjson"
    log.unlink(missing_ok=True)
    command = [sys.executable, "-m", "bench.sink", "--port", "0", "--log", str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            port = process.stdout.readline().strip() if process.stdout else ""
            yield f"http://127.0.0.1:{port}/", process.pid
        finally:
            process.terminate()


def settings_of(folder: Path, operator_url: str) -> dict[str, str]:
    """A system of its own, on free ports, with that operator."""
    return {
        "ICAZE_DATA_DIR": tempfile.mkdtemp(prefix="data-", dir=folder),
        "ICAZE_OPERATOR": "http",
        "ICAZE_OPERATOR_URL": operator_url,
        **{f"ICAZE_{role.upper()}_PORT": str(free_port()) for role in ROLES},
    }


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


def drained(store: Any) -> None:
    """Returns when every inbound and reply stream is empty."""
    tags: list[str] = json.loads(store.get("layout") or b"{}")["tags"]
    deadline = time.monotonic() + DRAIN_S
    while time.monotonic() < deadline:
        pipe = store.pipeline(transaction=False)
        for tag in tags:
            pipe.xlen(f"inbound:{{{tag}}}")
            pipe.xlen(f"replies:{{{tag}}}")
        if not any(pipe.execute()):
            return
        time.sleep(0.1)
    raise SystemExit(f"not drained within {DRAIN_S:.0f} s")


def verify(folder: Path, house: ApiHouse) -> dict[str, Any]:
    """What `icaze verify` says of journal and sink."""
    said = subprocess.run(
        [
            *ICAZE,
            "verify",
            "--journal",
            str(folder / "journal.ndjson"),
            "--sink",
            str(folder / "sink.ndjson"),
            "--json",
        ],
        env=house.environ,
        stdout=subprocess.PIPE,
        check=False,
    ).stdout
    (folder / "verify.json").write_bytes(said)
    return json.loads(said)


def _spent(house: ApiHouse, beside: Mapping[str, int]) -> dict[str, float]:
    """Processor time that each role has had, us; of a worker that was killed its last process alone."""
    pids = {role: house.pid(role) for role in ROLES} | dict(beside)
    return {role: cpu_us(pid) for role, pid in pids.items()}


def _ended_us() -> float:
    """Of our children that have ended: the pusher adds to it, all others live on."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (ended.ru_utime + ended.ru_stime) * 1e6


def peak_mb(pid: int) -> float:
    """Peak resident memory of a process, MB (Linux; 0 elsewhere)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return round(int(found[1]) / 1024, 1) if found else 0.0


def used(store: Any) -> int:
    """Memory of the store, bytes."""
    return int(store.info("memory")["used_memory"])


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(prog="python -m bench.national_day", description=__doc__)
    configure(_parser)
    sys.exit(run(_parser.parse_args()))
