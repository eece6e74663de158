"""The loop of one partition's replies: read them, hand them to the sender, acknowledge what is settled.

Reads `replies:{p}` in the consumer group `dispatch`. Entries that a former holder had read and not acknowledged
may have been sent: they go first and are marked ambiguous.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final

from redis.exceptions import ResponseError

from dispatch.outgoing import Outgoing, from_entry
from lua import calls
from lua.calls import Command
from lua.keys import DISPATCH_GROUP, LANE
from runtime.connection import STORE_ERRORS, Wire
from runtime.leases import Lease
from runtime.telemetry import LANE_RESTARTS, Log

BLOCK_S: Final = 1.0
ANSWER_S: Final = 5.0
READ: Final = 100
BUSY: Final = 8
"""Replies in a page, of 64 partitions, that tell of some 10,000 a second ..."""
GATHER_S: Final = 0.15
"""... so the next page is read at the next multiple: to read one and acknowledge it costs as much as 20 replies."""
MOST_UNSETTLED: Final = 500
"""Replies of one partition under way at once: what a crash can make ambiguous."""
MOST_PARKED: Final = 2000
"""Replies of one partition that wait for their next try beside those: one network that is down must not stop all."""
LINGER_S: Final = 1.0
"""How long a lane that must end waits for what is in flight; well below the lease."""
PAUSE_S: Final = (0.05, 2.0)
SWEEP_S: Final = 15.0
"""How often pending entries are looked through for such as nobody works on: a former holder whose read came late,
or an answer that was lost, leaves some."""
LOOK_S: Final = 0.05
"""How often a lane without a sure lease looks whether it was renewed."""


class ReplyLane:
    """Feeds the sender from one partition as long as its lease holds."""

    def __init__(
        self, lease: Lease, *, wire: Wire, submit: Callable[[Sequence[Outgoing]], None], replicas: int = 0
    ) -> None:
        self.lease = lease
        self._wire = wire
        self._submit = submit
        self._replicas = replicas
        self._unsettled: set[bytes] = set()
        self._parked: set[bytes] = set()
        self._settled_meanwhile: set[bytes] | None = None
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._over = False
        self._after: bytes | None = b"0"
        self._read_at_s = 0.0
        """No page is read before."""
        self._sweep_at_s = 0.0
        self._group_is_new = False
        self._pause_s = PAUSE_S[0]
        self._log = Log("dispatch")

    @property
    def may_send(self) -> bool:
        """Whether no other dispatcher can hold this partition yet."""
        return not self._over and self.lease.surely_ours

    @property
    def ending(self) -> bool:
        """Whether what is not in flight should be left to the next holder."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Read no more; end when what is in flight is settled."""
        self._stopping.set()
        self._changed.set()

    def settled(self, entry_ids: Iterable[bytes]) -> None:
        """Entries that are done with and acknowledged."""
        self._unsettled.difference_update(entry_ids)
        self._parked.difference_update(entry_ids)
        if self._settled_meanwhile is not None:
            self._settled_meanwhile.update(entry_ids)
        self._changed.set()

    def parked(self, entry_id: bytes) -> None:
        """An entry that waits for its next try: others may go meanwhile."""
        self._parked.add(entry_id)
        self._changed.set()

    def resumed(self, entry_id: bytes) -> None:
        """A parked entry is on its way again."""
        self._parked.discard(entry_id)

    def left(self, entry_id: bytes) -> None:
        """An entry that was not sent for want of a sure lease: still pending, for whoever holds the partition next."""
        self._unsettled.discard(entry_id)
        self._parked.discard(entry_id)
        self._sweep_at_s = 0.0
        self._changed.set()

    async def run(self) -> None:
        """Feed until told to stop; a store that is away is waited for."""
        try:
            while not self._stopping.is_set():
                try:
                    await self._step()
                    self._pause_s = PAUSE_S[0]
                except (*STORE_ERRORS, ResponseError) as error:
                    await self._recover(error)
            await self._settle_all()
        finally:
            self._over = True
            await self._wire.close()

    async def _step(self) -> None:
        """Read one page and hand it over; wait while too much is under way."""
        under_way = len(self._unsettled) - len(self._parked)
        if not self.may_send or under_way >= MOST_UNSETTLED or len(self._parked) >= MOST_PARKED:
            await self._wait()
            return
        if self._after is None and time.monotonic() >= self._sweep_at_s:
            self._after = b"0"
        if (early_s := self._read_at_s - time.monotonic()) > 0:
            await self._gather(early_s)
            return
        again, self._settled_meanwhile = self._after is not None, set()
        # At level `replicated` nothing of this page is sent that the replicas may lack: not its entries, and not that
        # they were read, so that whoever goes on with them on a promoted replica says that they may have been sent.
        marks = [calls.mark_command(self.lease.keys.mark)] if self._replicas else []
        reply, *marked = await self._wire.call(
            self._read(), *marks, timeout_s=BLOCK_S + ANSWER_S, replicas=self._replicas
        )
        settled, self._settled_meanwhile = self._settled_meanwhile, None
        for error in (reply, *marked):
            if isinstance(error, ResponseError):
                raise error
        found: list[tuple[bytes, list[bytes] | None]] = reply[0][1] if reply else []
        if again:
            self._after = found[-1][0] if found else None
            self._sweep_at_s = time.monotonic() + SWEEP_S
        ambiguous = again or self._group_is_new
        fresh = [
            from_entry(self, entry_id, fields, ambiguous=ambiguous)
            for entry_id, fields in found
            # What was settled while the answer was on its way stands in it as pending.
            if entry_id not in self._unsettled and entry_id not in settled
        ]
        self._unsettled.update([outgoing.entry_id for outgoing in fresh])
        self._submit(fresh)
        if not again and len(found) < READ:
            self._group_is_new = False
        if BUSY <= len(found) < READ:
            # In step: all busy lanes read in one turn of the loop, and the store syncs once for all.
            self._read_at_s = (time.monotonic() // GATHER_S + 1) * GATHER_S

    def _read(self) -> Command:
        group: Command = ["XREADGROUP", "GROUP", DISPATCH_GROUP, LANE, "COUNT", READ]
        if self._after is not None:
            return [*group, "STREAMS", self.lease.keys.replies, self._after]
        # A read that outlives the lease would take entries away from the next holder.
        block_s = min(BLOCK_S, self.lease.until_mono_s - time.monotonic())
        return [*group, "BLOCK", max(1, int(block_s * 1000)), "STREAMS", self.lease.keys.replies, ">"]

    async def _gather(self, seconds: float) -> None:
        """So that the next page is larger; a stop ends it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _wait(self) -> None:
        """Until something is settled; without a sure lease, at most a moment."""
        self._changed.clear()
        try:
            async with asyncio.timeout(BLOCK_S if self.may_send else LOOK_S):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _recover(self, error: Exception) -> None:
        """After a doubt: make what is missing, wait a little, and read what is pending first."""
        LANE_RESTARTS.labels(type(error).__name__).inc()
        self._after = b"0"
        await asyncio.sleep(self._pause_s * random.uniform(0.5, 1))
        self._pause_s = min(self._pause_s * 2, PAUSE_S[1])
        if "NOGROUP" not in str(error):
            return
        self._log.error("the reply group is gone: making it anew", partition=self.lease.index)
        try:
            now_ms = time.time_ns() // 1_000_000
            await calls.register(self._wire, self.lease.keys, group=DISPATCH_GROUP, now_ms=now_ms)
        except (*STORE_ERRORS, ResponseError) as again:
            self._log.warning("reply group not made", error=type(again).__name__)
        else:
            # It begins at the stream's head, with replies that the former group may have sent.
            self._group_is_new = True

    async def _settle_all(self) -> None:
        try:
            async with asyncio.timeout(min(LINGER_S, self.lease.until_mono_s - time.monotonic())):
                while self._unsettled:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            self._log.info("replies left to the next holder", partition=self.lease.index, count=len(self._unsettled))
