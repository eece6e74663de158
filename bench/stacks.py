"""Where the time of a drain goes: stacks of the worker and functions of the server, sampled while both are at work.

`icaze bench drain --profile` adds a round for it that nobody times: who is looked at is slower. The worker is sampled
by py-spy, the server by `perf` where that is on PATH; both need leave to look at other processes (root, mostly).
"""

import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bench.backlog import Backlog
from bench.role import role
from bench.spell import LOOK_S, PATIENCE_S, watch
from bench.store import opened

RATE_HZ: Final = 500
IDLE: Final = "_worker (concurrent/futures/thread.py"
"""A thread of a pool that waits for work, which py-spy takes for busy."""
ATTACHED_S: Final = 0.5
"""More than either takes to begin."""
LEAST_US: Final = 0.05
"""Of a message, inside a command that is told."""


def profile(backlog: Backlog, folder: Path, spy: str) -> list[dict[str, Any]]:
    """One drain that is looked at; what was seen, as `report` draws it."""
    with opened(folder / "profiled", fsync=True) as store:
        store.fill(backlog.appends())
        with role("process", store.url, folder, len(backlog.partitions)) as worker:
            deadline = time.monotonic() + PATIENCE_S
            while (left := store.lengths(backlog.inbound)) == backlog.messages and time.monotonic() < deadline:
                worker.check()
                time.sleep(LOOK_S)
            before, raw, perf = store.commands_us(), folder / "worker.raw", shutil.which("perf")
            look = [spy, "record", "--pid", worker.pid, "--rate", RATE_HZ, "--function", "--format", "raw", "-o", raw]
            data = folder / "server.data"
            look_too = [perf, "record", "--pid", store.pids[0], "-F", RATE_HZ, "-o", data] if perf else []
            with _looking(look, folder), _looking(look_too, folder):
                watch(store, worker, backlog.inbound, backlog.messages)
            spent = {name: (us - before.get(name, 0)) / max(left, 1) for name, us in store.commands_us().items()}
    seen = {"worker": stacks(raw.read_text())}
    if perf:
        words = [perf, "script", "-i", str(data), "-F", "ip,sym,dso"]
        seen["server"] = functions(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    told: list[dict[str, Any]] = [
        {"title": f"{whose}: where its time goes", "kind": "stacks", "stacks": found} for whose, found in seen.items()
    ]
    commands = {name: round(us, 2) for name, us in sorted(spent.items(), key=lambda one: -one[1]) if us > LEAST_US}
    title = "server: time inside commands a message; those called by the function are in its own, too"
    told.append({"title": title, "kind": "bars", "y": "µs", "bars": commands})
    return told


def sampler() -> str:
    """Where py-spy is; SystemExit where it is not."""
    beside = Path(sys.executable).with_name("py-spy")
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if found is None:
        raise SystemExit("icaze bench: py-spy is not installed; `make install` installs it")
    return found


@contextmanager
def _looking(words: Sequence[object], folder: Path) -> Generator[None, None, None]:
    """A sampler at work on a process; SystemExit with its own words where it may not."""
    if not words:
        yield
        return
    log = folder / f"looking-{time.monotonic_ns()}.log"
    with log.open("wb") as said:
        process = subprocess.Popen([str(word) for word in words], stdout=said, stderr=said, stdin=subprocess.DEVNULL)
    try:
        time.sleep(ATTACHED_S)
        if process.poll() is not None:
            raise SystemExit(f"icaze bench: {words[0]}: {log.read_text(errors='replace')[-500:]}")
        yield
    finally:
        process.send_signal(signal.SIGINT)  # at which both write down what they saw
        process.wait(timeout=60)


def stacks(raw: str) -> dict[str, int]:
    """How often each `outermost;…;innermost` was seen, of py-spy's lines."""
    found: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        if IDLE not in stack.rpartition(";")[2]:
            found[stack] += int(count)
    return dict(found)


def functions(said: str) -> dict[str, int]:
    """How often each innermost function was seen, of perf's lines: a server is seldom built so that more could be."""
    named = (line.strip().partition(" ")[2] for line in said.splitlines())
    return dict(Counter(re.sub(r"\(.*/", "(", name) for name in named if name))
