"""Phones that ask for many documents a day: counted over all partitions, and so a little behind.

A phone's SMS are decided in the partitions of their documents, by several workers. Each worker keeps a small filter of
how often it saw a phone; the few that come often are counted exactly, in the store, once a second. So the limit is
soft: within that second, and for the first SMS before a phone is counted, it lets more documents pass, never fewer.

Reads and writes `phone:{p}:<phone>:<YYYYMMDD>`.
"""

import asyncio
import struct
from typing import Final

import msgspec
from redis.exceptions import RedisError, ResponseError

from lua.calls import Command
from lua.keys import PartitionKeys
from permits.calendar import DAY_MS, day_name, day_start_ms
from runtime.connection import Wire
from runtime.telemetry import Log

CELLS: Final = 1 << 24
"""Of the filter, a byte each: at five million SMS a day two phones in 100,000 are taken for ones that come often."""
LAST_CELL: Final = CELLS - 1
_TWO_CELLS: Final = struct.Struct(">II").unpack
MOST_OFTEN: Final = 200_000
"""Phones that one worker counts exactly; more would be an attack that other limits must meet."""
OFTEN: Final = 4
"""SMS of a phone and day that one worker has seen when it begins to count the documents."""
SHARE_S: Final = 1.0
AT_ONCE: Final = 500
"""Phones written and read in one round trip."""
TOLD_EVERY_MS: Final = 3_600_000
KEPT_MS: Final = 2 * DAY_MS


class _Phone(msgspec.Struct):
    """What a worker knows of a phone that comes often."""

    partition: int
    documents: set[bytes]
    """Owner keys that this worker let pass, and those of all workers as the store had them last."""
    refused: set[bytes] = msgspec.field(default_factory=set[bytes])
    """Owner keys that it named in texts refused for their form, as far as this worker saw them."""
    told_ms: int = 0
    told: bytes = b""
    """The entry whose refusal was answered then."""


class BusyPhones:
    """What one worker knows of the phones of a day."""

    def __init__(self, wire: Wire, partitions: list[PartitionKeys]) -> None:
        self._wire = wire
        self._partitions = partitions
        self._day = 0
        self._cells = bytearray(CELLS)
        self._often: dict[bytes, _Phone] = {}
        self._unshared: dict[bytes, set[bytes]] = {}
        self._log = Log("process")

    def is_busy(
        self, phone: bytes, partition: int, owner: bytes, *, day: int, limit: int, refused: bool = False
    ) -> bool:
        """Note that a phone (its keyed hash and partition) asks for a document; whether that is one too many today.

        Documents that are `refused` for the text's form have a count of their own: a family's mistakes cost it none.
        """
        if day != self._day:
            if day < self._day:
                return False  # the last SMS of yesterday
            self._begin(day)
        known = self._often.get(phone)
        if known is None:
            if not self._comes_often(phone) or len(self._often) >= MOST_OFTEN:
                return False
            known = self._often[phone] = _Phone(partition, set())
        documents = known.refused if refused else known.documents
        if owner in documents:
            return False
        if len(documents) >= limit:
            return True
        documents.add(owner)
        if refused:
            return False
        self._unshared.setdefault(phone, set()).add(owner)
        return False

    def is_told(self, phone: bytes, entry_id: bytes, now_ms: int) -> bool:
        """Whether this refusal of a busy phone is answered: one an hour, and the same however often it is prepared."""
        known = self._often[phone]
        if entry_id != known.told:
            if now_ms - known.told_ms < TOLD_EVERY_MS:
                return False
            known.told, known.told_ms = entry_id, now_ms
        return True

    async def run(self) -> None:
        """Share what is counted with the other workers, until cancelled."""
        try:
            while True:
                await asyncio.sleep(SHARE_S)
                try:
                    await self.share()
                except (RedisError, OSError) as error:
                    self._log.warning("phones not counted together", error=type(error).__name__)
        finally:
            await self._wire.close()

    async def share(self) -> None:
        """One exchange with the store."""
        while self._unshared:
            day = self._day
            fresh = [(phone, self._unshared.pop(phone)) for phone in list(self._unshared)[:AT_ONCE]]
            expires_s = (day_start_ms(day) + KEPT_MS) // 1000
            commands: list[Command] = []
            for phone, documents in fresh:
                key = self._partitions[self._often[phone].partition].phone(phone, day_name(day))
                commands.append(["SADD", key, *documents])
                commands.append(["EXPIREAT", key, expires_s])
                commands.append(["SMEMBERS", key])
            try:
                replies = await self._wire.call(*commands)
            except (RedisError, OSError):
                self._put_back(fresh, day)
                raise
            for (phone, _), stored in zip(fresh, replies[2::3], strict=True):
                if isinstance(stored, ResponseError):
                    raise stored
                if day == self._day:
                    self._often[phone].documents.update(stored)

    def _put_back(self, fresh: list[tuple[bytes, set[bytes]]], day: int) -> None:
        for phone, documents in fresh if day == self._day else ():
            self._unshared.setdefault(phone, set()).update(documents)

    def _begin(self, day: int) -> None:
        self._day = day
        self._cells = bytearray(CELLS)
        self._often.clear()
        self._unshared.clear()

    def _comes_often(self, phone: bytes) -> bool:
        """Count an SMS in both of the phone's cells; another phone's can share one of them, hardly both."""
        cells, often = self._cells, True
        one, other = _TWO_CELLS(phone)
        one &= LAST_CELL
        other &= LAST_CELL
        if cells[one] < OFTEN:
            cells[one] += 1
            often = False
        if cells[other] < OFTEN:
            cells[other] += 1
            often = False
        return often
