"""What has become of each reply, written back: acknowledgements, dead letters, and the trim behind them.

Writes XACK on `replies:{p}` and `dead:{p}`; many partitions' settlements go in one pipeline.
"""

import asyncio
import time
from typing import Final

from redis.exceptions import RedisError, ResponseError

from dispatch.reply_lane import Outgoing, ReplyLane
from lua import library
from lua.calls import Command
from lua.keys import DISPATCH_GROUP, PartitionKeys
from permits.messages import ENCODER, DeadLetter
from runtime.connection import STORE_ERRORS, Wire
from runtime.telemetry import GROUPS_DROPPED, REPLIES_DEAD, Log

TRIM_EVERY_S: Final = 1.0
SILENCE_MS: Final = 86_400_000
"""A reader that had something to do and did nothing for a day is dropped from the register."""
RETRY_S: Final = 0.2


class Ledger:
    """The settlements of one dispatcher."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._sent: dict[ReplyLane, list[bytes]] = {}
        self._dead: list[tuple[Outgoing, str]] = []
        self._awake = asyncio.Event()
        self._to_trim: set[PartitionKeys] = set()
        self._trimmed_at = 0.0
        self._log = Log("dispatch")

    def sent(self, outgoing: Outgoing) -> None:
        """The operator took it."""
        self._sent.setdefault(outgoing.lane, []).append(outgoing.entry_id)
        self._awake.set()

    def dead(self, outgoing: Outgoing, reason: str) -> None:
        """It will never be sent."""
        self._dead.append((outgoing, reason))
        self._awake.set()

    async def run(self) -> None:
        """Write settlements as they come, for ever; what the store did not take is written again."""
        while True:
            try:
                await asyncio.wait_for(self._awake.wait(), TRIM_EVERY_S)
            except TimeoutError:
                pass
            self._awake.clear()
            try:
                await self._write()
                if time.monotonic() - self._trimmed_at >= TRIM_EVERY_S:
                    await self._trim()
            except (*STORE_ERRORS, RedisError) as error:
                self._log.warning("settlements not written", error=type(error).__name__)
                self._awake.set()
                await asyncio.sleep(RETRY_S)

    async def _write(self) -> None:
        sent, self._sent = self._sent, {}
        dead, self._dead = self._dead, []
        if not sent and not dead:
            return
        # A dead letter comes before its acknowledgement: written twice at worst, never lost.
        commands: list[Command] = [
            ["XADD", outgoing.lane.lease.keys.dead, "*", "m", _letter(outgoing, reason)] for outgoing, reason in dead
        ]
        commands += [_ack(lane, entry_ids) for lane, entry_ids in sent.items()]
        commands += [_ack(outgoing.lane, [outgoing.entry_id]) for outgoing, _ in dead]
        try:
            replies = await self._wire.call(*commands)
        except BaseException:
            self._put_back(sent, dead)
            raise
        refused = next((reply for reply in replies if isinstance(reply, ResponseError)), None)
        if refused is not None:
            self._put_back(sent, dead)
            raise refused
        for lane, entry_ids in sent.items():
            self._to_trim.add(lane.lease.keys)
            for entry_id in entry_ids:
                lane.settled(entry_id)
        for outgoing, reason in dead:
            self._to_trim.add(outgoing.lane.lease.keys)
            outgoing.lane.settled(outgoing.entry_id)
            REPLIES_DEAD.labels(reason.split(":", 1)[0]).inc()

    def _put_back(self, sent: dict[ReplyLane, list[bytes]], dead: list[tuple[Outgoing, str]]) -> None:
        for lane, entry_ids in sent.items():
            self._sent.setdefault(lane, []).extend(entry_ids)
        self._dead.extend(dead)

    async def _trim(self) -> None:
        """Remove what every registered group is done with."""
        partitions, self._to_trim = list(self._to_trim), set()
        self._trimmed_at = time.monotonic()
        if not partitions:
            return
        now_ms = time.time_ns() // 1_000_000
        replies = await self._wire.call(
            *(["FCALL", library.TRIM, 2, keys.replies, keys.groups, now_ms, SILENCE_MS] for keys in partitions)
        )
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise reply
            for group in reply[1:]:
                name = group.decode()
                GROUPS_DROPPED.labels(name).inc()
                self._log.error("a reader of replies was dropped after a day of silence", group=name)


def _ack(lane: ReplyLane, entry_ids: list[bytes]) -> Command:
    return ["XACK", lane.lease.keys.replies, DISPATCH_GROUP, *entry_ids]


def _letter(outgoing: Outgoing, reason: str) -> bytes:
    return ENCODER.encode(
        DeadLetter(
            kind="reply",
            entry_id=outgoing.entry_id.decode(),
            reason=reason,
            dead_ms=time.time_ns() // 1_000_000,
            raw=outgoing.parcel.body.decode("utf-8", "backslashreplace"),
        )
    )
