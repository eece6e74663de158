"""The role processes of `up`: started, watched, started again after a crash, stopped in order.

Each child is a process as in production. Its standard input is a pipe from us: when we end, however, it ends.
"""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from runtime.errors import StartupError
from runtime.lifecycle import SUPERVISED, stopped

READY_S: Final = 30.0
RESTART_PAUSE_S: Final = 0.5
SHORT_LIFE_S: Final = 5.0
MOST_SHORT_LIVES: Final = 3


class Child:
    """One role."""

    def __init__(
        self,
        role: str,
        *,
        environ: Mapping[str, str],
        log: Path,
        patience_s: float,
        on_line: Callable[[str, bytes], None],
    ) -> None:
        self.role = role
        self.door: str | None = None
        self.restarts = 0
        self.failed = asyncio.Event()
        self._environ = {**os.environ, **environ, SUPERVISED: "1"}
        self._log = log
        self._patience_s = patience_s
        self._on_line = on_line
        self._process: Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._opened = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Of the process that runs now."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Run the role until its door is open; StartupError with its own last words where it does not open."""
        self._watching = asyncio.create_task(self._watch())
        waits = [asyncio.create_task(self._opened.wait()), asyncio.create_task(self.failed.wait())]
        done, _ = await asyncio.wait(waits, timeout=READY_S, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if not self._opened.is_set():
            words = self.last_words()
            raise StartupError(words if done else f"{self.role}: not ready within {READY_S:.0f} s: {words}")

    async def stop(self) -> None:
        """Let the role finish its work, then end it."""
        self._stopping.set()
        if self._watching is None:
            return
        self._signal(signal.SIGTERM)
        _, late = await asyncio.wait({self._watching}, timeout=self._patience_s + 5)
        if late:
            self._signal(signal.SIGKILL)
        await asyncio.gather(self._watching, return_exceptions=True)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    def last_words(self) -> str:
        """The last line of the role's log."""
        lines = self._log.read_text(errors="replace").splitlines()
        return lines[-1].removeprefix("icaze: ") if lines else f"{self.role}: ended without a word"

    async def _watch(self) -> None:
        """Run the role; again after a crash, unless it never opened or keeps crashing at once."""
        short_lives = 0
        while True:
            began = time.monotonic()
            code = await self._live()
            if self._stopping.is_set():
                return
            short_lives = short_lives + 1 if time.monotonic() - began < SHORT_LIFE_S else 0
            if not self._opened.is_set() or short_lives >= MOST_SHORT_LIVES:
                self.failed.set()
                return
            self.restarts += 1
            self._on_line(self.role, f"{self.role} ended with code {code}; starting it again".encode())
            if await stopped(self._stopping, RESTART_PAUSE_S):
                return

    async def _live(self) -> int:
        """One life of the process: its exit code."""
        command = [sys.executable, "-m", "icaze", self.role]
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, stderr=log, env=self._environ, start_new_session=True, limit=1 << 20
            )
        self._process = process
        if self._stopping.is_set():  # the stop came while there was no process to tell
            self._signal(signal.SIGTERM)
        if process.stdout is not None:
            door = await process.stdout.readline()
            if door:
                self._open(door.decode(errors="replace").split()[-1])
            async for line in process.stdout:
                self._on_line(self.role, line.rstrip(b"\n"))
        return await process.wait()

    def _open(self, door: str) -> None:
        """The role serves: its next lives serve at the same door, also where any free port was asked for."""
        self.door = door
        self._environ[f"ICAZE_{self.role.upper()}_PORT"] = str(urlsplit(door).port)
        self._opened.set()


def fresh_log(path: Path) -> Path:
    """An empty log file for one start of `up`; the former one is kept beside it."""
    if path.exists():
        path.replace(path.with_suffix(".log.1"))
    path.touch(mode=0o600)
    return path
