"""Real processes for tests: roles of one data folder, started, watched, hurt, and always cleaned up.

A role is `python -m icaze ROLE` in a session of its own, with only the environment it needs and any free port.
"""

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Final, TypeVar

from runtime import keyring, layout
from runtime.settings import Settings

T = TypeVar("T")

PARTITIONS: Final = 8
LEASE_MS: Final = 2000
START_S: Final = 30.0
"""Of a busy machine; an idle one needs half a second."""
ICAZE: Final = (sys.executable, "-m", "icaze")


def until(condition: Callable[[], T | None], what: str, *, within_s: float = START_S) -> T:
    """The first true value of `condition`; AssertionError where none comes in time."""
    deadline = time.monotonic() + within_s
    tick = threading.Event()
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        tick.wait(0.02)
    return value


class Running:
    """One process that prints where its doors are."""

    def __init__(
        self, words: Sequence[str], *, environ: Mapping[str, str], log: Path, stdin: int | None, terminal: bool
    ) -> None:
        self.log = log
        self.lines: list[str] = []
        self._keyboard, screen = pty.openpty() if terminal else (None, None)
        if screen is not None:
            fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 120, 0, 0))
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                words,
                env=dict(environ),
                stdin=screen or stdin or subprocess.DEVNULL,
                stdout=screen or subprocess.PIPE,
                stderr=screen or errors,
                start_new_session=True,
                preexec_fn=_own_terminal if terminal else None,  # noqa: PLW1509  # it asks the kernel, no more
            )
        if screen is not None:
            os.close(screen)
        self.pid = self.process.pid
        output = self.process.stdout if self._keyboard is None else os.fdopen(os.dup(self._keyboard), "rb")
        self._reader = threading.Thread(target=self._read, args=(output,), daemon=True)
        self._reader.start()

    def _read(self, output: IO[bytes]) -> None:
        with output, suppress(OSError):  # a terminal's end is an error
            for line in output:
                self.lines.append(line.decode(errors="replace").rstrip("\r\n"))

    def type(self, keys: bytes) -> None:
        """Type on its terminal."""
        assert self._keyboard is not None, "it has no terminal"
        os.write(self._keyboard, keys)

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def said(self, start: str) -> str:
        """The first printed line that starts so; AssertionError with its last words where it ends before."""

        def look() -> str | None:
            found = next((line for line in list(self.lines) if line.startswith(start)), None)
            assert found is not None or self.alive, f"ended with {self.process.returncode}: {self.errors()}"
            return found

        return until(look, f"a line {start!r}; got {self.lines}")

    def door(self, role: str) -> str:
        """The URL of a role's door."""
        return self.said(f"{role} ").split()[-1]

    def errors(self) -> str:
        """What it wrote to standard error, at the end."""
        return self.log.read_text(errors="replace")[-2000:]

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, it alone."""
        self.process.send_signal(number)

    def ended(self, *, within_s: float = START_S) -> int:
        """Its exit code, once it has ended and all it printed is read."""
        code = self.process.wait(within_s)
        self._reader.join(within_s)
        return code

    def stop(self, *, within_s: float = START_S) -> None:
        """Ask it to end; it must do so cleanly."""
        self.signal(signal.SIGTERM)
        code = self.ended(within_s=within_s)
        assert code == 0, f"ended with {code}: {self.errors()}"

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.ended()

    def close(self) -> None:
        """Kill what still runs, with all it has started, and let go of its terminal."""
        if self.alive:
            families = descendants(self.pid)
            self.kill()
            for pid in families:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if self._keyboard is not None:
            os.close(self._keyboard)


class House:
    """The processes and files of one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "d"
        self.logs = folder / "logs"
        self.journal = folder / "journal"
        self.sink_log = folder / "sink"
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "ICAZE_DATA_DIR": str(self.data),
            "ICAZE_PARTITIONS": str(PARTITIONS),
            "ICAZE_LEASE_MS": str(LEASE_MS),
            "ICAZE_INGEST_PORT": "0",
            "ICAZE_PROCESS_PORT": "0",
            "ICAZE_DISPATCH_PORT": "0",
            "ICAZE_API_PORT": "0",
            "ICAZE_DRAIN_S": "10",
        }
        self._started: list[Running] = []
        self._to_close: list[Callable[[], object]] = []

    def furnish(self) -> None:
        """Make what roles without an `up` find in the data folder: the routing key and the keyring."""
        settings = Settings(data_dir=str(self.data))
        layout.make_secret(layout.routing_key_path(settings))
        keyring.make(keyring.path(settings))

    def run(
        self,
        words: Sequence[str],
        environ: Mapping[str, str] = MappingProxyType({}),
        *,
        stdin: int | None = None,
        terminal: bool = False,
    ) -> Running:
        """Start any program; it is killed at the end of the test."""
        self.logs.mkdir(exist_ok=True)
        log = self.logs / f"{len(self._started)}.log"
        running = Running(words, environ={**self.environ, **environ}, log=log, stdin=stdin, terminal=terminal)
        self._started.append(running)
        return running

    def start(
        self, role: str, environ: Mapping[str, str] = MappingProxyType({}), *, stdin: int | None = None
    ) -> Running:
        """Start a role, or `up`; its door is open when this returns."""
        running = self.run([*ICAZE, role], environ, stdin=stdin)
        running.said("try: " if role == "up" else f"{role} ")
        return running

    def call(self, *words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        environment = {**self.environ, **environ}
        return subprocess.run(
            [*ICAZE, *words], env=environment, capture_output=True, text=True, timeout=START_S, check=False
        )

    def sink(self, *words: str) -> Running:
        """An operator's gateway that logs what it takes; it makes dispatchers use it."""
        sink = self.run([sys.executable, "-m", "bench.sink", "--port", "0", "--log", str(self.sink_log), *words])
        until(lambda: sink.lines, "the sink's port")
        self.environ |= {"ICAZE_OPERATOR": "http", "ICAZE_OPERATOR_URL": f"http://127.0.0.1:{sink.lines[0]}/"}
        return sink

    def replay(self, trace: Path, url: str, *, rate: int) -> Running:
        """Start pushing a trace through ingest; the journal gets what is acknowledged."""
        words = [
            "replay",
            str(trace),
            "--url",
            url,
            "--rate",
            str(rate),
            "--batch",
            "40",
            "--journal",
            str(self.journal),
        ]
        return self.run([*ICAZE, *words, "--give-up", "20", "--json"])

    def acknowledged(self) -> int:
        """SMS that ingest has acknowledged to the replay so far."""
        return self.journal.read_bytes().count(b"acked_ms") if self.journal.exists() else 0

    def sent(self) -> int:
        """Replies that the sink has taken so far."""
        return self.sink_log.read_bytes().count(b"\n") if self.sink_log.exists() else 0

    def verify(self, **environ: str) -> dict[str, Any]:
        """The report on a house at rest, in which every check was made and none found a violation."""
        words = ["--journal", str(self.journal), "--sink", str(self.sink_log), "--json"]
        done = self.call("verify", *words, **environ)
        assert done.returncode in (0, 1), done.stderr
        report = json.loads(done.stdout)
        bad = [check for check in report["checks"] if check["status"] != "ok"]
        assert not bad, bad
        assert report["ok"]
        return report

    def at_end(self, close: Callable[[], object]) -> None:
        """Something else to close after the processes."""
        self._to_close.append(close)

    def close(self) -> None:
        """End everything."""
        for running in self._started:
            running.close()
        for close in reversed(self._to_close):
            close()


def ready(url: str) -> dict[str, Any]:
    """The facts of a door's `/readyz`; empty where nobody answers."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:  # noqa: S310
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return json.loads(error.read())
    except OSError:
        return {}


def holds(url: str, partitions: int) -> bool:
    """Whether a worker or dispatcher has exactly so many partitions now."""
    return ready(url).get("partitions") == partitions


def exists(pid: int) -> bool:
    """Whether a process of this id runs; one that has ended and waits for its parent does not count."""
    stat = _stat(pid)
    return stat is not None and stat[0] not in "ZX"


def descendants(pid: int) -> dict[int, str]:
    """Process id and last word of the command line of all that a process has started, by /proc."""
    parents = {int(path.name): stat for path in Path("/proc").glob("[0-9]*") if (stat := _stat(int(path.name)))}
    found: dict[int, str] = {}
    wanted = {pid}
    while wanted:
        wanted = {child for child, (_, parent) in parents.items() if parent in wanted and child not in found}
        found |= {child: _last_word(child) for child in wanted}
    return found


def child(pid: int, name: str, *, other_than: int = 0) -> int:
    """The running process that `pid` has started as this role, or as `store`, once there is one."""

    def look() -> int | None:
        started = {word.rpartition("/")[2].removesuffix(".sock"): child for child, word in descendants(pid).items()}
        found = started.get(name)
        return found if found is not None and found != other_than and exists(found) else None

    return until(look, f"a process {name}")


def _stat(pid: int) -> tuple[str, int] | None:
    """(state, parent) of a process."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return words[0], int(words[1])


def _last_word(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return next((word.decode(errors="replace") for word in reversed(words) if word), "")


def _own_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
