"""The loop of one partition's replies: read them, hand them to the sender, acknowledge what is settled.

Reads `replies:{p}` in the consumer group `dispatch`. Entries that a former holder had read and not acknowledged
may have been sent: they go first and are marked ambiguous.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from redis.exceptions import ResponseError

from dispatch.operators.port import Parcel
from lua.calls import Command
from lua.keys import DISPATCH_GROUP, LANE
from permits.messages import REPLY_DECODER, Reply
from runtime.connection import STORE_ERRORS, Wire
from runtime.leases import Lease
from runtime.telemetry import LANE_RESTARTS, Log

BLOCK_MS: Final = 1000
ANSWER_S: Final = 5.0
READ: Final = 100
MOST_UNSETTLED: Final = 500
"""Replies of one partition under way at once: what a crash can make ambiguous."""
LINGER_S: Final = 1.0
"""How long a lane that must end waits for what is in flight; well below the lease."""
PAUSE_S: Final = (0.05, 2.0)


class Outgoing(msgspec.Struct):
    """One reply between the stream and its settlement."""

    lane: "ReplyLane"
    entry_id: bytes
    parcel: Parcel
    reply: Reply | None
    """None: not a reply of ours; `parcel.body` holds it as it stood."""
    attempts: int = 0


class ReplyLane:
    """Feeds the sender from one partition as long as its lease holds."""

    def __init__(self, lease: Lease, *, wire: Wire, submit: Callable[[Outgoing], Awaitable[None]]) -> None:
        self.lease = lease
        self._wire = wire
        self._submit = submit
        self._unsettled: set[bytes] = set()
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._after: bytes | None = b"0"
        self._pause_s = PAUSE_S[0]
        self._log = Log("dispatch")

    @property
    def may_send(self) -> bool:
        """Whether no other dispatcher can hold this partition yet."""
        return self.lease.surely_ours

    @property
    def ending(self) -> bool:
        """Whether what is not in flight should be left to the next holder."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Read no more; end when what is in flight is settled."""
        self._stopping.set()
        self._changed.set()

    def settled(self, entry_id: bytes) -> None:
        """The sender is done with an entry."""
        self._unsettled.discard(entry_id)
        self._changed.set()

    async def run(self) -> None:
        """Feed until told to stop; a store that is away is waited for."""
        try:
            while not self._stopping.is_set():
                try:
                    await self._step()
                    self._pause_s = PAUSE_S[0]
                except (*STORE_ERRORS, ResponseError) as error:
                    LANE_RESTARTS.labels(type(error).__name__).inc()
                    self._after = b"0"
                    await asyncio.sleep(self._pause_s * random.uniform(0.5, 1))
                    self._pause_s = min(self._pause_s * 2, PAUSE_S[1])
            await self._settle_all()
        finally:
            await self._wire.close()

    async def _step(self) -> None:
        """Read one page and hand it over; wait while too much is under way."""
        while len(self._unsettled) >= MOST_UNSETTLED and not self._stopping.is_set():
            self._changed.clear()
            await self._changed.wait()
        again = self._after is not None
        (reply,) = await self._wire.call(self._read(), timeout_s=BLOCK_MS / 1000 + ANSWER_S)
        if isinstance(reply, ResponseError):
            raise reply
        found: list[tuple[bytes, list[bytes] | None]] = reply[0][1] if reply else []
        if again:
            self._after = found[-1][0] if found else None
        for entry_id, fields in found:
            if entry_id not in self._unsettled:
                self._unsettled.add(entry_id)
                await self._submit(self._outgoing(entry_id, fields, ambiguous=again))

    def _read(self) -> Command:
        group: Command = ["XREADGROUP", "GROUP", DISPATCH_GROUP, LANE, "COUNT", READ]
        if self._after is not None:
            return [*group, "STREAMS", self.lease.keys.replies, self._after]
        return [*group, "BLOCK", BLOCK_MS, "STREAMS", self.lease.keys.replies, ">"]

    def _outgoing(self, entry_id: bytes, fields: list[bytes] | None, *, ambiguous: bool) -> Outgoing:
        body: Any = fields[1] if fields and len(fields) == 2 else b""
        try:
            reply = REPLY_DECODER.decode(body)
        except msgspec.DecodeError:
            reply = None
        parcel = Parcel(id="" if reply is None else reply.id, body=body, ambiguous=ambiguous)
        return Outgoing(lane=self, entry_id=entry_id, parcel=parcel, reply=reply)

    async def _settle_all(self) -> None:
        try:
            async with asyncio.timeout(LINGER_S):
                while self._unsettled:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            self._log.info("replies left to the next holder", partition=self.lease.index, count=len(self._unsettled))
