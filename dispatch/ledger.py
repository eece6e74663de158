"""What has become of each reply, written back: acknowledgements, dead letters, and the trim behind them.

Writes XACK on `replies:{p}` and `dead:{p}`; many partitions' settlements go in one pipeline.
"""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from redis.exceptions import RedisError, ResponseError

from dispatch.outgoing import Outgoing
from dispatch.reply_lane import ReplyLane
from lua import calls, library
from lua.calls import Command
from lua.keys import DISPATCH_GROUP, PartitionKeys
from permits.messages import ENCODER, DeadLetter
from runtime.connection import STORE_ERRORS, Wire
from runtime.day_keys import DayKeys
from runtime.sealing import sealed_letter
from runtime.telemetry import GROUPS_DROPPED, REPLIES_DEAD, Log

TRIM_EVERY_S: Final = 1.0
SILENCE_MS: Final = 86_400_000
"""A reader that had something to do and did nothing for a day is dropped from the register."""
REGISTER_EVERY_S: Final = 3600.0
"""Our own group is never silent while a dispatcher runs, though the operator be away for a day."""
RETRY_S: Final = 0.2


class Ledger:
    """The settlements of one dispatcher."""

    def __init__(self, wire: Wire, day_keys: DayKeys) -> None:
        self._wire = wire
        self._day_keys = day_keys
        self._sent: defaultdict[ReplyLane, list[bytes]] = defaultdict(list)
        self._dead: list[tuple[Outgoing, str]] = []
        self._awake = asyncio.Event()
        self._to_trim: dict[PartitionKeys, ReplyLane] = {}
        self._trimmed_at = -math.inf
        self._registered_at: dict[PartitionKeys, float] = {}
        self._log = Log("dispatch")

    def sent(self, *taken: Outgoing) -> None:
        """The operator took them."""
        for outgoing in taken:
            self._sent[outgoing.lane].append(outgoing.entry_id)
        self._awake.set()

    def dead(self, outgoing: Outgoing, reason: str) -> None:
        """It will never be sent."""
        self._dead.append((outgoing, reason))
        self._awake.set()

    def taken_over(self, lane: ReplyLane) -> None:
        """A partition is ours: what its former holder acknowledged and did not trim goes too."""
        self._to_trim[lane.lease.keys] = lane

    async def run(self) -> None:
        """Write settlements as they come, for ever; what the store did not take is written again."""
        while True:
            try:
                # Not `wait_for`: Python 3.11's forgets a cancellation that meets the event, and a stop would hang.
                async with asyncio.timeout(TRIM_EVERY_S):
                    await self._awake.wait()
            except TimeoutError:
                pass
            self._awake.clear()
            try:
                try:
                    await self._write()
                finally:  # what was acknowledged goes, also while something else cannot be written
                    if time.monotonic() - self._trimmed_at >= TRIM_EVERY_S:
                        await self._trim()
            except (*STORE_ERRORS, RedisError) as error:
                self._log.warning("settlements not written", error=type(error).__name__)
                self._awake.set()
                await asyncio.sleep(RETRY_S)

    async def finish(self) -> None:
        """Write what is left, once, and close; what the store does not take is sent again, marked."""
        try:
            await self._write()
            await self._trim()
        except (*STORE_ERRORS, RedisError) as error:
            self._log.warning("last settlements not written", error=type(error).__name__)
        finally:
            await self._wire.close()

    async def _write(self) -> None:
        """Dead letters, then acknowledgements; raises after all that can be written is."""
        dead, self._dead = self._dead, []
        sent, self._sent = self._sent, defaultdict(list)
        try:
            letters = await self._call([self._letter(outgoing, reason) for outgoing, reason in dead])
            unwritten: list[tuple[Outgoing, str]] = []
            for (outgoing, reason), reply in zip(dead, letters, strict=True):
                if isinstance(reply, ResponseError):
                    unwritten.append((outgoing, reason))
                else:
                    self._to_trim[outgoing.lane.lease.keys] = outgoing.lane
                    outgoing.lane.settled([outgoing.entry_id])
                    REPLIES_DEAD.labels(reason.split(":", 1)[0]).inc()
            dead = unwritten
            acks = await self._call([_ack(lane, entry_ids) for lane, entry_ids in sent.items()])
            for (lane, entry_ids), reply in zip(list(sent.items()), acks, strict=True):
                if not isinstance(reply, ResponseError):
                    del sent[lane]
                    self._to_trim[lane.lease.keys] = lane
                    lane.settled(entry_ids)
        finally:
            self._dead.extend(dead)
            for lane, entry_ids in sent.items():
                self._sent[lane].extend(entry_ids)
        _raise_first(letters + acks)

    async def _call(self, commands: Sequence[Command]) -> list[Any]:
        return await self._wire.call(*commands) if commands else []

    def _letter(self, outgoing: Outgoing, reason: str) -> Command:
        """What buries a reply, its content sealed under today's key."""
        now_ms = time.time_ns() // 1_000_000
        letter = DeadLetter(
            kind="reply",
            entry_id=outgoing.entry_id.decode(),
            reason=reason,
            dead_ms=now_ms,
            raw=outgoing.body.decode("utf-8", "backslashreplace"),
            reply_id=outgoing.id or msgspec.UNSET,
        )
        letter = sealed_letter(self._day_keys.at(now_ms), letter)
        keys = outgoing.lane.lease.keys
        return calls.bury_command(keys, group=DISPATCH_GROUP, entry_id=outgoing.entry_id, letter=ENCODER.encode(letter))

    async def _trim(self) -> None:
        """Remove what every registered group is done with; what another group holds is looked at again."""
        lanes = list(self._to_trim.values())
        self._trimmed_at = time.monotonic()
        now_ms = time.time_ns() // 1_000_000
        await self._stay_registered([lane.lease.keys for lane in lanes], now_ms)
        commands: list[Command] = []
        for lane in lanes:
            keys = lane.lease.keys
            commands.append(["FCALL", library.TRIM, 2, keys.replies, keys.groups, now_ms, SILENCE_MS])
            commands.append(["XLEN", keys.replies])
        replies = await self._call(commands)
        for lane, trimmed, length in zip(lanes, replies[::2], replies[1::2], strict=True):
            if isinstance(trimmed, ResponseError):
                continue
            if length == 0 or not lane.may_send:
                del self._to_trim[lane.lease.keys]
            for group in trimmed[1:]:
                name = group.decode()
                GROUPS_DROPPED.labels(name).inc()
                self._log.error("a reader of replies was dropped after a day of silence", group=name)
        _raise_first(replies)

    async def _stay_registered(self, partitions: Sequence[PartitionKeys], now_ms: int) -> None:
        now = time.monotonic()
        # The clock may have begun less than an hour ago: what was never registered is due whatever it shows.
        due = [keys for keys in partitions if now >= self._registered_at.get(keys, -math.inf) + REGISTER_EVERY_S]
        replies = await self._call(
            [["FCALL", library.REGISTER, 2, keys.replies, keys.groups, DISPATCH_GROUP, now_ms] for keys in due]
        )
        _raise_first(replies)
        self._registered_at.update(dict.fromkeys(due, now))


def _ack(lane: ReplyLane, entry_ids: list[bytes]) -> Command:
    return ["XACK", lane.lease.keys.replies, DISPATCH_GROUP, *entry_ids]


def _raise_first(replies: Sequence[Any]) -> None:
    for reply in replies:
        if isinstance(reply, ResponseError):
            raise reply
