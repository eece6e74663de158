"""The spool of one ingest process: what cannot be stored now is kept on disk, acknowledged, and stored later.

While it holds anything, all that the process takes goes behind it. `ingest.spool_replay` empties it. Files:
`ingest.spool_slot`.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from ingest.spool_records import Entry
from ingest.spool_slot import Slot, SpoolFullError, take_free
from runtime.errors import StartupError
from runtime.settings import Settings
from runtime.telemetry import SPOOL_BYTES, SPOOL_ENTRIES, SPOOLED, Log

T = TypeVar("T")

TROUBLE_S: Final = 5.0
"""So long after a failed write `accepts` is false: nobody would try again if it stayed so."""


class NotSpooledError(RuntimeError):
    """The entries are not in the spool; the words tell why."""


class Spool:
    """The slot of this process, those of dead ones that it replays, and the one thread that works on their files."""

    def __init__(self, folder: Path, slot: Slot, *, most_bytes: int) -> None:
        self.folder: Final = folder
        self.most_bytes: Final = most_bytes
        self.own: Final = slot
        self.slots: Final = [slot]
        """All that wait to be replayed by this process, its own first."""
        self.holds = False
        """Whether what comes now must go behind what is here."""
        self.begun: Final = asyncio.Event()
        self._log = Log("spool")
        self._thread = ThreadPoolExecutor(1, "spool")
        self._open_gate = asyncio.Event()
        self._open_gate.set()
        self._under_way = 0
        self._in_trouble_until_s = 0.0
        self._began_s = 0.0
        if slot.entries:
            self.begin("left by the process before")
        self.show()

    @property
    def accepts(self) -> bool:
        """Whether there is room, as far as is known."""
        return self.own.bytes < self.most_bytes and time.monotonic() >= self._in_trouble_until_s

    async def takes(self) -> bool:
        """Whether what comes now goes here; waits while the last entries are handed over."""
        if self.holds:
            await self._open_gate.wait()
        return self.holds

    def begin(self, because: str) -> None:
        """From now on the spool takes all."""
        if not self.holds:
            self.holds = True
            self._began_s = time.monotonic()
            self.begun.set()
            self._log.warning("spooling begins", because=because, slot=self.own.name, spooled=self.own.entries)

    async def append(self, entries: Iterable[Entry], because: str) -> None:
        """Keep entries on disk; NotSpooledError where that failed."""
        kept = list(entries)
        self._under_way += 1
        try:
            await self.run(lambda: self.own.append(kept, at_ms=time.time_ns() // 1_000_000))
        except OSError as error:
            why = str(error) if isinstance(error, SpoolFullError) else f"spool: {error.strerror}"
            if self._in_trouble_until_s < time.monotonic():
                self._log.error("the spool takes no more", reason=why)
            self._in_trouble_until_s = time.monotonic() + TROUBLE_S
            raise NotSpooledError(why) from None
        finally:
            self._under_way -= 1
        self._in_trouble_until_s = 0.0
        self.begin(because)
        SPOOLED.inc(len(kept))
        self.show()

    async def run(self, work: Callable[[], T]) -> T:
        """Something with files, after all that was asked before."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def close_gate(self) -> None:
        """Little is left: what comes now waits until it is handed over; returns when no append is under way."""
        self._open_gate.clear()
        while self._under_way:
            await self.run(lambda: None)

    def open_gate(self) -> None:
        """What waited goes on."""
        self._open_gate.set()

    async def end(self) -> bool:
        """Begin to store again, where nothing is left; called with the gate closed."""
        if self._under_way or self.own.entries:
            return False
        self.holds = False
        self.begun.clear()
        self._log.info("spooling ended, all is stored", seconds=round(time.monotonic() - self._began_s, 1))
        await self.run(self.own.clear)
        self.show()
        return True

    def show(self) -> None:
        """Set the gauges."""
        SPOOL_ENTRIES.set(sum(slot.entries for slot in self.slots))
        SPOOL_BYTES.set(sum(slot.bytes for slot in self.slots))

    def facts(self) -> dict[str, Any]:
        """For `/readyz`: entries that wait, size of the files, and for how long the oldest has waited, seconds."""
        oldest_ms = self.oldest_ms
        return {
            "spooled": sum(slot.entries for slot in self.slots),
            "spool_bytes": sum(slot.bytes for slot in self.slots),
            "spool_oldest_s": max(0, time.time_ns() // 1_000_000 - oldest_ms) / 1000 if oldest_ms else 0.0,
        }

    @property
    def oldest_ms(self) -> int:
        """When the oldest entry was spooled; 0 where none waits."""
        return min((slot.oldest_ms for slot in self.slots if slot.entries), default=0)

    async def close(self) -> None:
        """Let go of the files; what is in them stays, and is told."""
        left = sum(slot.entries for slot in self.slots)
        if left:
            self._log.warning("spooled SMS stay for the next start", spooled=left, folder=str(self.folder))
        await asyncio.to_thread(self._thread.shutdown)
        for slot in self.slots:
            slot.close()


async def opened(settings: Settings) -> Spool:
    """The spool of this process; StartupError where its folder cannot be used."""
    most_bytes = settings.spool_mb << 20
    try:
        settings.spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        slot = await asyncio.to_thread(take_free, settings.spool, most_bytes=most_bytes)
    except OSError as error:
        raise StartupError(f"spool {error.filename}: {error.strerror}; set ICAZE_SPOOL_DIR to another") from None
    return Spool(settings.spool, slot, most_bytes=most_bytes)
