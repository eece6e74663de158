"""What is in the spool goes into the store, in order and as it was, once the store takes it; with it, dead processes'.

Reads the slots of the spool; writes `inbound:{p}`, and what is left in `spools:{p}`.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from redis.exceptions import RedisError, ResponseError

from ingest.group_commit import GroupCommit, NotStoredError
from ingest.spool import Spool
from ingest.spool_slot import Slot, take_abandoned
from runtime import spools
from runtime.connection import Wire
from runtime.telemetry import SPOOL_REPLAYED, Log

BATCH: Final = 4000
"""Entries of one write, and the most that a crash repeats."""
LAST: Final = 1000
"""So few are handed over while what comes now waits."""
LOOK_S: Final = 1.0
"""Between looks whether the store takes anything, and for the slots of dead processes."""
PING_S: Final = 2.0


class Replay:
    """The task that empties the spool of one ingest process."""

    def __init__(
        self, spool: Spool, wire: Wire, *, full: Callable[[], str | None], shown_at: str, replicas: int = 0
    ) -> None:
        self._spool = spool
        self._wire = wire
        """Of this task alone."""
        self._commit = GroupCommit(wire, replicas=replicas)
        self._full = full
        """Why the store should get no more now."""
        self._shown_at = shown_at
        self._owner = spools.owner(spool.own.name)
        self._log = Log("spool")
        self._told_s = 0.0
        self._waits_because = ""

    async def run(self) -> None:
        """Replay for ever."""
        while True:
            try:
                if self._spool.holds:
                    await self._empty_own()
                await self._empty_abandoned()
            except Exception as error:  # noqa: BLE001  # a spool that nobody empties grows until it is full
                self._spool.open_gate()
                self._log.error("the spool cannot be replayed", cause=error)
                await asyncio.sleep(LOOK_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._spool.begun.wait()

    async def close(self) -> None:
        """Let go of the store; `run` must have ended."""
        await self._commit.close()

    async def _empty_own(self) -> None:
        own = self._spool.own
        try:
            while True:
                if not await self._replay(own, leaving=LAST):
                    continue
                await self._spool.close_gate()
                if await self._replay(own) and await self._spool.end():
                    await self._tell(at_once=True)
                    return
                self._spool.open_gate()
        finally:
            self._spool.open_gate()

    async def _empty_abandoned(self) -> None:
        found = await self._spool.run(lambda: take_abandoned(self._spool.folder, most_bytes=self._spool.most_bytes))
        if found is None:
            return
        self._spool.slots.append(found)
        self._log.warning("replaying what a dead process left", slot=found.name, spooled=found.entries)
        try:
            while not await self._replay(found):
                continue
            await self._spool.run(found.clear)
        except Exception:
            await self._let_go(found)
            raise
        await self._let_go(found)
        await self._tell(at_once=True)

    async def _let_go(self, slot: Slot) -> None:
        self._spool.slots.remove(slot)
        await self._spool.run(slot.close)

    async def _replay(self, slot: Slot, *, leaving: int = 0) -> bool:
        """Store what is in a slot until so much is left; False, after a pause, where the store takes nothing."""
        while True:
            began_s = time.monotonic()
            because = self._full()
            if because is None and slot.entries <= leaving:
                return True
            if because is None:
                because = await self._store_next(slot)
            self._spool.show()
            if because is not None:
                await self._wait(because)
                return False
            await self._tell()
            if leaving:  # else somebody waits
                await asyncio.sleep(time.monotonic() - began_s)

    async def _wait(self, because: str) -> None:
        """Until another try may do better."""
        self._spool.open_gate()
        if because != self._waits_because:
            self._log.warning("the spool waits", because=because)
        self._waits_because = because
        await asyncio.sleep(LOOK_S)
        await self._until_store_answers()
        await self._tell()

    async def _store_next(self, slot: Slot) -> str | None:
        """Store one batch; why it may not be stored, else None."""
        batch = await self._spool.run(lambda: slot.read(BATCH))
        if not batch:
            return None
        try:
            await self._commit.append(batch)
        except NotStoredError as error:
            return str(error)
        await self._spool.run(slot.done)
        SPOOL_REPLAYED.inc(len(batch))
        self._waits_because = ""
        return None

    async def _until_store_answers(self) -> None:
        """Ask first: a batch that a slow store takes late would be stored again and again."""
        while True:
            with suppress(RedisError, OSError):
                (answer,) = await self._wire.call(("PING",), timeout_s=PING_S)
                if not isinstance(answer, ResponseError):
                    return
            await asyncio.sleep(LOOK_S)

    async def _tell(self, *, at_once: bool = False) -> None:
        """Tell the monitor once a second what is left; nothing depends on it."""
        if not at_once and time.monotonic() - self._told_s < spools.EVERY_S:
            return
        self._told_s = time.monotonic()
        left = spools.Left(
            entries=sum(slot.entries for slot in self._spool.slots),
            oldest_ms=self._spool.oldest_ms,
            at_ms=time.time_ns() // 1_000_000,
        )
        with suppress(RedisError, OSError):
            await self._wire.call(*spools.tell_commands(self._shown_at, self._owner, left))
