"""The loop of one partition: read, prepare, decide, and read the next batch in the same round trip.

Reads `inbound:{p}` in the consumer group, without a pending list: an entry that stands in the stream is undecided,
and `decide` removes what it decides. So after any doubt (start, lost answer, another reader) the lane reads
from the head of the stream with XRANGE until nothing older is left, and only then on with XREADGROUP.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from redis.exceptions import ResponseError

from lua.calls import Applied, Command, Decided, Fenced, decide_command, decide_reply
from lua.keys import INBOUND_GROUP, LANE, PartitionKeys
from lua.library import LibraryDiffersError, ensure_loaded
from lua.records import ENTRY_BYTES
from permits.decision import RECORD_ENTRIES
from permits.outcomes import NAME_OF
from processor.batch import Entry, Prepared, Preparer
from runtime.connection import CONDITIONS, STORE_ERRORS, Wire
from runtime.day_keys import UnreadDayKeyError
from runtime.leases import Lease
from runtime.telemetry import BATCH_SECONDS, DECIDED, DECIDED_AGE, IDS_REUSED, LANE_RESTARTS, UNANSWERED, Log, masked

BLOCK_MS: Final = 1000
ANSWER_S: Final = 5.0
SMALL_BATCH: Final = 64
PAUSE_S: Final = (0.05, 2.0)
"""First and longest pause after a fault of the store."""


class DecideLane:
    """Decides the entries of one partition as long as its lease holds."""

    def __init__(
        self,
        lease: Lease,
        *,
        preparer: Preparer,
        wire: Wire,
        partitions: Sequence[PartitionKeys],
        turns: asyncio.Semaphore,
        batch: int,
        wall_ms: Callable[[], int],
        pace_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._lease = lease
        self._keys = lease.keys
        self._preparer = preparer
        self._wire = wire
        self._partitions = partitions
        self._turns = turns
        self._most = batch
        self._limit = batch
        self._wall_ms = wall_ms
        self._stopping = False
        self._from_head = True
        self._unfit: tuple[bytes, str] | None = None
        self._pause_s = PAUSE_S[0]
        self._pace_s = pace_s
        self._decided_mono_s = 0.0
        self._log = Log("process")

    def stop(self) -> None:
        """Finish the batch under way, then end."""
        self._stopping = True

    async def run(self) -> None:
        """Decide until told to stop or until the partition is another's; a store that is away is waited for."""
        entries: list[Entry] = []
        try:
            while not self._stopping:
                try:
                    entries = await self._step(entries)
                except _LostError:
                    return
                except STORE_ERRORS as error:
                    entries = await self._recover(type(error).__name__)
                except Exception as error:  # noqa: BLE001  # whatever one batch does, its partition goes on
                    entries = await self._mend(error, entries)
        finally:
            await self._wire.close()

    async def _step(self, entries: list[Entry]) -> list[Entry]:
        """One batch decided, or a wait for one; the next batch."""
        if not entries:
            waited = not self._from_head
            (reply,) = await self._wire.call(self._next(block=True), timeout_s=BLOCK_MS / 1000 + ANSWER_S)
            entries = self._entries(reply)
            if waited and not entries:
                # A lane that lost the partition may have been handed entries of ours: they stand at the head.
                self._from_head = True
                self._pause_s = PAUSE_S[0]
            return entries
        await self._gather(len(entries))
        async with self._turns:
            return await self._decide(entries)

    async def _gather(self, count: int) -> None:
        """A small batch right after another waits, so that its successor is larger: a call costs as much as 20 SMS."""
        early_s = self._decided_mono_s + self._pace_s() - time.monotonic()
        if count < SMALL_BATCH and early_s > 0 and not self._stopping:
            await asyncio.sleep(early_s)

    async def _decide(self, entries: list[Entry]) -> list[Entry]:
        """One batch decided; the next batch."""
        began = time.perf_counter()
        prepared = await self._prepared(entries)
        if prepared.moves:
            await self._append(prepared.moves)
        call = decide_command(
            self._keys,
            epoch=self._lease.epoch,
            batch=prepared.batch,
            record_bytes=RECORD_ENTRIES * ENTRY_BYTES,
        )
        answer, following = await self._wire.call(call, self._next(block=False), timeout_s=ANSWER_S)
        if isinstance(answer, ResponseError):
            raise answer
        decided = decide_reply(answer)
        if isinstance(decided, Fenced):
            self._log.warning("partition lost", partition=self._lease.index)
            raise _LostError
        if isinstance(decided, Decided):
            self._count(decided, prepared.batch.count, prepared.oldest_ms, time.perf_counter() - began)
        elif not isinstance(decided, Applied):
            self._from_head = True
            LANE_RESTARTS.labels("gap").inc()
            return []
        self._decided_mono_s = time.monotonic()
        self._limit, self._unfit, self._pause_s = self._most, None, PAUSE_S[0]
        return self._entries(following)

    async def _prepared(self, entries: list[Entry]) -> Prepared:
        """The call; where a day's key is missing, once it is read or known to be gone."""
        unfit = self._unfit[1] if self._unfit is not None and self._unfit[0] == entries[0][0] else None
        epoch, now_ms = self._lease.epoch, self._wall_ms()
        try:
            return self._preparer.prepare(entries, epoch=epoch, now_ms=now_ms, unfit=unfit)
        except UnreadDayKeyError:
            await self._preparer.day_keys.refresh()
            return self._preparer.prepare(entries, epoch=epoch, now_ms=now_ms, unfit=unfit, keys_are_read=True)

    def _next(self, *, block: bool) -> Command:
        """The read of the next batch."""
        if self._from_head:
            return ["XRANGE", self._keys.inbound, "-", "+", "COUNT", self._limit]
        blocking: Command = ["BLOCK", BLOCK_MS] if block else []
        group: Command = ["XREADGROUP", "GROUP", INBOUND_GROUP, LANE, "COUNT", self._limit]
        return [*group, *blocking, "NOACK", "STREAMS", self._keys.inbound, ">"]

    def _entries(self, reply: Any) -> list[Entry]:
        if isinstance(reply, ResponseError):
            raise reply
        found: list[tuple[bytes, list[bytes] | None]]
        if self._from_head:
            found = reply
            self._from_head = bool(found)
        else:
            found = reply[0][1] if reply else []
        return [
            # Nearly all are so; a call for each would cost a twentieth of a message.
            (entry_id, fields[1] if fields and len(fields) == 2 and fields[0] == b"m" else _payload(fields))
            for entry_id, fields in found
        ]

    async def _append(self, moves: Sequence[tuple[int, bytes]]) -> None:
        """Entries of other partitions, stored there before they go here; a repeat is known by its identity."""
        commands: list[Command] = [["XADD", self._partitions[to].inbound, "*", "m", raw] for to, raw in moves]
        for reply in await self._wire.call(*commands, timeout_s=ANSWER_S):
            if isinstance(reply, ResponseError):
                raise reply

    async def _recover(self, cause: str) -> list[Entry]:
        """After a doubt: wait a little, then read from the head."""
        LANE_RESTARTS.labels(cause).inc()
        self._from_head = True
        await asyncio.sleep(self._pause_s * random.uniform(0.5, 1))
        self._pause_s = min(self._pause_s * 2, PAUSE_S[1])
        return []

    async def _mend(self, error: Exception, entries: list[Entry]) -> list[Entry]:
        """After an error: make what is missing; of a batch that cannot be decided, find the entry."""
        text, size = str(error), len(entries)
        # The client cuts the codes that it knows off the text.
        code = (isinstance(error, ResponseError) and error.status_code) or text.split(" ", 1)[0]
        if "NOGROUP" in text:
            command = ("XGROUP", "CREATE", self._keys.inbound, INBOUND_GROUP, "0", "MKSTREAM")
            await self._try(self._wire.execute_command(*command))
        elif "Function not found" in text:
            await self._try(ensure_loaded(self._wire))
        elif code in CONDITIONS:
            return await self._recover(code)
        elif size > 1:
            self._log.error("batch not decided, trying half of it", cause=error, size=size)
            self._from_head, self._limit = True, size // 2
            return []
        elif size == 1 and self._unfit is None:
            self._log.error("entry not decided, making a dead letter of it", cause=error)
            self._from_head, self._limit = True, 1
            self._unfit = (entries[0][0], f"its decision failed: {type(error).__name__}: {masked(text[:200])}")
            return []
        else:
            self._log.error("nothing can be decided", cause=error, partition=self._lease.index)
            self._limit, self._unfit = self._most, None
        return await self._recover("error_reply")

    async def _try(self, mend: Awaitable[object]) -> None:
        """A mend that another lane may have made already; what is still wrong shows at the next step."""
        try:
            await mend
        except (*STORE_ERRORS, ResponseError, LibraryDiffersError) as error:
            self._log.warning("mend not made", error=type(error).__name__)

    def _count(self, decided: Decided, expected: int, oldest_ms: int, seconds: float) -> None:
        for letter, times in Counter(decided.letters).items():
            DECIDED.labels(NAME_OF[letter]).inc(times)
        if decided.ids_reused:
            IDS_REUSED.inc(decided.ids_reused)
        UNANSWERED.inc(decided.unanswered)
        if decided.removed != expected:
            self._log.error("entries vanished before their decision", expected=expected, removed=decided.removed)
        BATCH_SECONDS.observe(seconds)
        DECIDED_AGE.set(max(0.0, (self._wall_ms() - oldest_ms) / 1000))


class _LostError(Exception):
    """The partition is another worker's now."""


def _payload(fields: Sequence[bytes] | None) -> bytes | None:
    """The field `m` of an entry, None where it has none."""
    return dict(zip(fields[::2], fields[1::2], strict=True)).get(b"m") if fields else None
