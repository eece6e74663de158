"""The high-water mark: ingest stops taking SMS before the store is full, and says when to come again.

Reads the lengths of the inbound streams and the store's memory once a second.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from redis.exceptions import RedisError

from lua.calls import Command
from lua.keys import PartitionKeys
from lua.store import primaries
from runtime.connection import Wire
from runtime.settings import Settings
from runtime.telemetry import BACKLOG, Log

EVERY_S: Final = 1.0


class HighWater:
    """Whether there is room for more."""

    def __init__(self, wire: Wire, partitions: Sequence[PartitionKeys], settings: Settings) -> None:
        self._wire = wire
        self._partitions = partitions
        self._settings = settings
        self._log = Log("ingest")
        self.full_because: str | None = None

    async def watch(self) -> None:
        """Look once a second, until cancelled."""
        away = False
        try:
            while True:
                try:
                    await self.look()
                    away = False
                except (RedisError, OSError) as error:
                    self.full_because = None  # the spool has a bound of its own
                    if not away:
                        self._log.warning("high-water mark not read", error=type(error).__name__)
                    away = True
                await asyncio.sleep(EVERY_S)
        finally:
            await self._wire.close()

    async def look(self) -> None:
        """Read backlog and memory now."""
        commands: list[Command] = [["XLEN", keys.inbound] for keys in self._partitions]
        lengths = await self._wire.call(*commands)
        memories = [_memory(await server.execute_command("INFO", "memory")) for server in await primaries(self._wire)]
        backlog = sum(length for length in lengths if isinstance(length, int))
        BACKLOG.set(backlog)
        used, most = max(memories, key=lambda memory: memory[0] / memory[1] if memory[1] else 0.0)  # the fullest
        if backlog >= self._settings.backlog_limit:
            self.full_because = f"{backlog} SMS are waiting for a decision"
        elif most and used >= most * self._settings.memory_limit:
            self.full_because = f"the store's memory is {100 * used // most} % full"
        else:
            self.full_because = None


def _memory(info: Any) -> tuple[int, int]:
    """(used, maxmemory) bytes; maxmemory 0 where there is no limit."""
    pairs = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
    return int(pairs["used_memory"]), int(pairs["maxmemory"])
