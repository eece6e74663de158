"""Many requests, one write: entries of concurrent requests go into the streams in one pipeline.

Writes `inbound:{p}`. An append returns when its entries are stored at the configured level: with `appendfsync
always` the server syncs before it answers, and replicas are waited for in the same pipeline. While one write is under
way the next one gathers. With a spool, an append returns too when its entries are on disk there, because the store is
away or its state forbids the write.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from redis.exceptions import ResponseError

from ingest.spool import NotSpooledError, Spool
from runtime.connection import CONDITIONS, NotReplicatedError, Wire

MAX_ENTRIES: Final = 4000
"""Entries of one write: bounds the time that the first of them waits for the last."""
SMALL: Final = 400
"""Of more than twice as many that wait half are written: were all, ingest had nothing left to prepare meanwhile."""
MOST_WAITING: Final = 40_000
"""Entries that may wait for their write; more would be answered later than an aggregator waits."""
ANSWER_S: Final = 5.0
Waiting = tuple[Sequence[tuple[str, bytes]], asyncio.Future[None]]


class NotStoredError(RuntimeError):
    """The entries may not be stored; the caller must be told to send them again."""


class GroupCommit:
    """The writer of one ingest process."""

    def __init__(self, wire: Wire, spool: Spool | None = None, *, replicas: int = 0) -> None:
        self._wire = wire
        self._spool = spool
        self._replicas = replicas
        self._loop = asyncio.get_running_loop()  # finding it costs a system call each time
        self._waiting: list[Waiting] = []
        self._entries = 0
        self._awake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def append(self, entries: Sequence[tuple[str, bytes]]) -> None:
        """Store (stream, payload) entries, in order; NotStoredError where that is not sure."""
        if self._entries + len(entries) > MOST_WAITING:
            raise NotStoredError(f"{self._entries} SMS wait to be written")
        self._entries += len(entries)
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._write())
        stored: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((entries, stored))
        self._awake.set()
        await stored

    async def close(self) -> None:
        """End; every append must have returned."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._wire.close()

    async def _write(self) -> None:
        while True:
            await self._awake.wait()
            self._awake.clear()
            while self._waiting:
                await self._write_once()

    async def _write_once(self) -> None:
        aside = self._spool is not None and self._spool.holds and await self._spool.takes()
        group = self._next_group()
        if aside:
            await self._set_aside(group, "more waits before it")
            return
        try:
            replies = await self._wire.call(
                *[("XADD", stream, "*", "m", payload) for entries, _ in group for stream, payload in entries],
                timeout_s=ANSWER_S,
                replicas=self._replicas,
            )
        except Exception as error:  # noqa: BLE001  # whatever befell it, a fault of ours too: its outcome is unknown
            # Who waits behind a store that is away would wait for each write before it: all are told now.
            group, self._waiting = group + self._waiting, []
            self._entries = 0
            await self._set_aside(group, _why(error))
            return
        at = 0
        refused: list[Waiting] = []
        for entries, stored in group:
            own = replies[at : at + len(entries)]
            at += len(entries)
            failed = next((reply for reply in own if isinstance(reply, ResponseError)), None)
            if failed is None:
                _settle(stored, None)
            elif (failed.status_code or str(failed).partition(" ")[0]) in CONDITIONS:
                refused.append((entries, stored))
            else:
                _settle(stored, NotStoredError(f"store refused ({str(failed)[:60]})"))
        if refused:
            await self._set_aside(refused, "store refused for its state")

    def _next_group(self) -> list[Waiting]:
        """The requests of one write."""
        taken, size = 0, 0
        most = min(max(SMALL, self._entries // 2), MAX_ENTRIES)
        for entries, _ in self._waiting:
            if taken and size + len(entries) > most:
                break
            taken += 1
            size += len(entries)
        group, self._waiting = self._waiting[:taken], self._waiting[taken:]
        self._entries -= size
        return group

    async def _set_aside(self, group: Sequence[Waiting], because: str) -> None:
        """Into the spool: what is not stored for sure is kept whole, and is a repeat where it was."""
        problem = NotStoredError(because)
        if self._spool is not None:
            try:
                await self._spool.append((entry for entries, _ in group for entry in entries), because)
                problem = None
            except NotSpooledError as error:
                problem = NotStoredError(f"{because}; {error}")
        for _, stored in group:
            _settle(stored, problem)


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, NotReplicatedError) else f"store away ({type(error).__name__})"


def _settle(stored: asyncio.Future[None], error: NotStoredError | None) -> None:
    """Tell a waiting request, unless its caller went away."""
    if stored.done():
        return
    if error is None:
        stored.set_result(None)
    else:
        stored.set_exception(error)
