"""A role under measurement: a real `icaze process` or `icaze dispatch` on a store, and the processor time it takes."""

import base64
import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.machine import cpu_us

START_S: Final = 30.0
PYTHON: Final = (sys.executable,)
ROUTING_KEY: Final = b"the measurements' own routing key"


class Running:
    """One process."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        if not Path("/proc/self/schedstat").exists():
            raise SystemExit("icaze bench: process times are read from /proc, so this needs Linux")
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def cpu_us(self) -> float:
        """Processor time that it has used, all of its threads."""
        return cpu_us(self._process.pid)

    @property
    def queued_us(self) -> float:
        """Time in which its main thread could have run and the machine gave it no core."""
        return queued_us(self._process.pid)

    def check(self) -> None:
        """SystemExit with its last words where it has ended."""
        if self._process.poll() is not None:
            raise SystemExit(f"icaze bench: a process ended early: {self._log.read_text(errors='replace')[-2000:]}")

    def await_port(self, port: int) -> None:
        """Returns once it listens."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            self.check()
            with socket.socket() as caller:
                if caller.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.02)
        raise SystemExit(f"icaze bench: nobody listens on port {port}")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as caller:
        caller.bind(("127.0.0.1", 0))
        return int(caller.getsockname()[1])


def queued_us(pid: int) -> float:
    """Time that a process has waited for a core, its main thread; 0 where the kernel does not tell."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e3
    except (OSError, IndexError):
        return 0.0


@contextmanager
def running(
    words: Sequence[str], folder: Path, environ: Mapping[str, str], *, cwd: Path | None = None
) -> Generator[Running, None, None]:
    """Any program, its output in a log; told to end at the end."""
    log = folder / f"{time.monotonic_ns()}.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(words, env=dict(environ), stdout=subprocess.DEVNULL, stderr=errors, cwd=cwd)
    try:
        yield Running(process, log)
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def furnish(folder: Path) -> None:
    """The secrets that a role finds in its data folder, the same each time."""
    keys = folder / "keys"
    keys.mkdir(parents=True, exist_ok=True)
    (keys / "routing.key").write_bytes(ROUTING_KEY)
    personal = base64.b64encode(b"k" * 32).decode()
    (keys / "personal.toml").write_text(f'current = "k1"\n\n[keys]\nk1 = "{personal}"\n')


@contextmanager
def role(
    name: str, url: str, folder: Path, partitions: int, python: Sequence[str] = PYTHON, *, port: int = 0
) -> Generator[Running, None, None]:
    """A role of ours on that store, with all that is on by default; without a `port`, on any."""
    data = folder / f"data-{time.monotonic_ns()}"
    furnish(data)
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ICAZE_")},
        "ICAZE_REDIS_URL": url,
        "ICAZE_DATA_DIR": str(data),
        "ICAZE_PARTITIONS": str(partitions),
        f"ICAZE_{name.upper()}_PORT": str(port),
        "ICAZE_LOG_LEVEL": "warning",
    }
    with running([*python, "-m", "icaze", name], folder, environ) as process:
        yield process
