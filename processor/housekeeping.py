"""What a worker does once a minute beside its lanes: lets go of what the policy no longer keeps, counts dead letters.

Trims `audit:{p}`, `acts:{p}` and `dead:{p}` of the partitions that it holds; who holds the first erases days' keys.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from redis.exceptions import RedisError

from lua.keys import PartitionKeys
from lua.store import Store
from permits.calendar import DAY_MS
from permits.regimes import Retention
from processor.archive.archiver import trim
from processor.dead.census import Census
from processor.erasure import Eraser
from runtime.telemetry import DEAD_LAPSED, Log

HOUSEKEEPING_S: Final = 60.0


class Housekeeping:
    """Of one worker; a step that fails keeps no other from its turn, and has its own again in the next round."""

    def __init__(
        self,
        store: Store,
        partitions: Sequence[PartitionKeys],
        *,
        held: Callable[[], Sequence[int]],
        retention: Callable[[], Retention],
        wall_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._partitions = partitions
        self._held = held
        self._retention = retention
        self._wall_ms = wall_ms
        self._eraser = Eraser(store, partitions[0].day_keys)
        self._census = Census(store, lambda: [partitions[index] for index in held()])
        self._log = Log("process")

    async def run(self) -> None:
        """One round after another, until cancelled."""
        while True:
            await self.round()
            await asyncio.sleep(HOUSEKEEPING_S)

    async def round(self) -> None:
        """Every step once."""
        for name, step in (("erase", self._erase), ("trim", self._trim), ("census", self._census.round)):
            try:
                await step()
            except (RedisError, OSError, ValueError) as error:
                self._log.warning("housekeeping put off", step=name, error=type(error).__name__)
            except Exception as error:  # noqa: BLE001  # whatever one step meets, the others and later rounds go on
                self._log.error("housekeeping failed", cause=error, step=name)

    async def _erase(self) -> None:
        """Keys of days, where the first partition is ours."""
        if 0 in self._held():
            await self._eraser.round(now_ms=self._wall_ms(), texts_days=self._retention().texts_days)

    async def _trim(self) -> None:
        """Trails as far as archived, and dead letters."""
        now_ms, retention = self._wall_ms(), self._retention()
        for index in self._held():
            keys = self._partitions[index]
            await trim(self._store, keys, before_ms=now_ms - retention.audit_days * DAY_MS)
            oldest_ms = now_ms - retention.dead_days * DAY_MS
            lapsed: int = await self._store.execute_command("XTRIM", keys.dead, "MINID", "=", oldest_ms)
            if lapsed:
                DEAD_LAPSED.inc(lapsed)
                self._log.warning("dead letters trimmed that nobody handled", partition=index, count=lapsed)
