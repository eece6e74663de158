"""The loop of one partition: read, prepare, decide, and read the next batch in the same round trip.

Reads `inbound:{p}` in the consumer group, without a pending list: an entry that stands in the stream is undecided,
and `decide` removes what it decides. So after any doubt (start, lost answer, another reader) the lane reads
from the head of the stream with XRANGE until nothing older is left, and only then on with XREADGROUP. Behind a full
batch it reads ahead, and prepares the next call while one is on its way.
"""

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from redis.exceptions import ResponseError

from lua.calls import Applied, Command, Decided, Fenced, decide_command, decide_reply
from lua.keys import INBOUND_GROUP, LANE, PartitionKeys
from lua.library import LibraryDiffersError, ensure_loaded
from lua.records import ENTRY_BYTES
from permits.decision import RECORD_ENTRIES
from permits.outcomes import NAME_OF
from processor.batch import Entry, Prepared, Preparer
from processor.turns import Turns
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
        turns: Turns,
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
        self._held: deque[list[Entry]] = deque()
        """Batches that were read and are not decided, in order; none but the last is less than full."""
        self._ahead: Prepared | None = None
        """The call of the first of them, if it was prepared while the one before was on its way."""
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
        try:
            while not self._stopping:
                try:
                    await self._step()
                except _LostError:
                    return
                except STORE_ERRORS as error:
                    await self._recover(type(error).__name__)
                except Exception as error:  # noqa: BLE001  # whatever one batch does, its partition goes on
                    await self._mend(error)
        finally:
            await self._wire.close()

    async def _step(self) -> None:
        """One batch decided, or a wait for one."""
        if not self._held:
            waited = not self._from_head
            (reply,) = await self._wire.call(self._next(block=True), timeout_s=BLOCK_MS / 1000 + ANSWER_S)
            self._hold(reply)
            if waited and not self._held:
                # A lane that lost the partition may have been handed entries of ours: they stand at the head.
                self._from_head = True
                self._pause_s = PAUSE_S[0]
            return
        if len(self._held) == 1:
            await self._gather(len(self._held[0]))
        async with self._turns:
            await self._decide(self._held[0])

    @property
    def _is_alone(self) -> bool:
        """Whether no other lane of this worker has a batch under way: several fill each other's pauses, and would be
        a quarter slower if each made them wait for what it prepares."""
        return self._turns.under_way == 1

    async def _gather(self, count: int) -> None:
        """A small batch right after another waits, so that its successor is larger: a call costs as much as 20 SMS."""
        early_s = self._decided_mono_s + self._pace_s() - time.monotonic()
        if count < SMALL_BATCH and early_s > 0 and not self._stopping:
            await asyncio.sleep(early_s)

    async def _decide(self, entries: list[Entry]) -> None:
        """The first batch decided, and more read."""
        began = time.perf_counter()
        prepared, self._ahead = self._ahead or await self._prepared(entries), None
        if prepared.moves:
            await self._append(prepared.moves)
        call = decide_command(
            self._keys,
            epoch=self._lease.epoch,
            batch=prepared.batch,
            record_bytes=RECORD_ENTRIES * ENTRY_BYTES,
        )
        # Behind a batch that is not full there was nothing more.
        is_last = len(self._held) > 1 and len(self._held[-1]) < self._limit
        answer, *following = await self._asked(call, *([] if is_last else [self._next(block=False)]))
        if isinstance(answer, ResponseError):
            raise answer
        decided = decide_reply(answer)
        if isinstance(decided, Fenced):
            self._log.warning("partition lost", partition=self._lease.index)
            raise _LostError
        if isinstance(decided, Decided):
            self._count(decided, prepared.batch.count, prepared.oldest_ms, time.perf_counter() - began)
        elif not isinstance(decided, Applied):
            LANE_RESTARTS.labels("gap").inc()
            self._forget()
            return
        self._decided_mono_s = time.monotonic()
        self._limit, self._unfit, self._pause_s = self._most, None, PAUSE_S[0]
        if prepared.batch.count < len(entries):
            self._forget()  # the rest of the batch is the head now
            return
        self._held.popleft()
        for reply in following:
            self._hold(reply)

    async def _asked(self, *commands: Command) -> list[Any]:
        """The replies; where another batch is held, its call is prepared meanwhile."""
        if len(self._held) == 1 or not self._is_alone:
            return await self._wire.call(*commands, timeout_s=ANSWER_S)
        asking = asyncio.create_task(self._wire.call(*commands, timeout_s=ANSWER_S))
        try:
            for _ in range(2):  # turns of the loop: in the first the commands are packed, in the second they leave
                await asyncio.sleep(0)
            # What is the matter with a batch shows when it is its turn.
            with suppress(Exception):
                self._ahead = self._preparer.prepare(self._held[1], epoch=self._lease.epoch, now_ms=self._wall_ms())
            return await asking
        finally:
            asking.cancel()

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
        """The read of what follows what is held: two batches behind a full one of a lane by itself, else one."""
        is_ramp = self._is_alone and len(self._held) == 1 and len(self._held[0]) == self._limit
        count = self._limit * (2 if is_ramp else 1)
        if self._from_head:
            after = f"({self._held[-1][-1][0].decode()}" if self._held else "-"
            return ["XRANGE", self._keys.inbound, after, "+", "COUNT", count]
        blocking: Command = ["BLOCK", BLOCK_MS] if block else []
        group: Command = ["XREADGROUP", "GROUP", INBOUND_GROUP, LANE, "COUNT", count]
        return [*group, *blocking, "NOACK", "STREAMS", self._keys.inbound, ">"]

    def _hold(self, reply: Any) -> None:
        """Keep what a read has found, by batches."""
        if isinstance(reply, ResponseError):
            raise reply
        found: list[tuple[bytes, list[bytes] | None]]
        if self._from_head:
            found = reply
            self._from_head = bool(found)
        else:
            found = reply[0][1] if reply else []
        entries = [
            # Nearly all are so; a call for each would cost a twentieth of a message.
            (entry_id, fields[1] if fields and len(fields) == 2 and fields[0] == b"m" else _payload(fields))
            for entry_id, fields in found
        ]
        self._held.extend(entries[at : at + self._limit] for at in range(0, len(entries), self._limit))

    def _forget(self) -> None:
        """Read from the head again, whatever was held."""
        self._held.clear()
        self._ahead = None
        self._from_head = True

    async def _append(self, moves: Sequence[tuple[int, bytes]]) -> None:
        """Entries of other partitions, stored there before they go here; a repeat is known by its identity."""
        commands: list[Command] = [["XADD", self._partitions[to].inbound, "*", "m", raw] for to, raw in moves]
        for reply in await self._wire.call(*commands, timeout_s=ANSWER_S):
            if isinstance(reply, ResponseError):
                raise reply

    async def _recover(self, cause: str) -> None:
        """After a doubt: wait a little, then read from the head."""
        LANE_RESTARTS.labels(cause).inc()
        self._forget()
        await asyncio.sleep(self._pause_s * random.uniform(0.5, 1))
        self._pause_s = min(self._pause_s * 2, PAUSE_S[1])

    async def _mend(self, error: Exception) -> None:
        """After an error: make what is missing; of a batch that cannot be decided, find the entry."""
        entries = self._held[0] if self._held else []
        text, size = str(error), len(entries)
        # The client cuts the codes that it knows off the text.
        code = (isinstance(error, ResponseError) and error.status_code) or text.split(" ", 1)[0]
        if "NOGROUP" in text:
            command = ("XGROUP", "CREATE", self._keys.inbound, INBOUND_GROUP, "0", "MKSTREAM")
            await self._try(self._wire.execute_command(*command))
        elif "Function not found" in text:
            await self._try(ensure_loaded(self._wire))
        elif code in CONDITIONS:
            await self._recover(code)
            return
        elif size > 1:
            self._log.error("batch not decided, trying half of it", cause=error, size=size)
            self._limit = size // 2
            self._forget()
            return
        elif size == 1 and self._unfit is None:
            self._log.error("entry not decided, making a dead letter of it", cause=error)
            self._limit = 1
            self._unfit = (entries[0][0], f"its decision failed: {type(error).__name__}: {masked(text[:200])}")
            self._forget()
            return
        else:
            self._log.error("nothing can be decided", cause=error, partition=self._lease.index)
            self._limit, self._unfit = self._most, None
        await self._recover("error_reply")

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
