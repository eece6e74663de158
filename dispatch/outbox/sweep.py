"""Forgetting in time: records whose end lies longer back than the citizen may want to see them.

Reads `ends:{p}` and `holder:{p}:<field>`; removes records that have not changed meanwhile, and their index entries.
"""

import time
from collections.abc import Sequence
from typing import Final

from dispatch.outbox.index import Index
from dispatch.outbox.records import Held, held_records
from lua import changes
from lua.calls import Command
from lua.keys import PartitionKeys
from permits.amended import AmendedPermit
from permits.employees import DAY_MS, RETENTION_MS, EmployeePermit, effective
from runtime.epochs import Epochs
from runtime.shared import SharedWire
from runtime.telemetry import Log

PAGE: Final = 20
"""Records of one sweep: few enough that index and feed do not wait for it."""
UNREADABLE_MS: Final = DAY_MS
"""A record that cannot be read is kept, and looked at again so much later: a newer release may have written it."""


class Sweep:
    """Removes what nobody needs any more, partition by partition."""

    def __init__(self, store: SharedWire, *, partitions: Sequence[PartitionKeys], index: Index, epochs: Epochs) -> None:
        self._store = store
        self._partitions = partitions
        self._index = index
        self._epochs = epochs
        self._sweeps = 0
        self._log = Log("outbox")

    async def sweep(self, held: Sequence[int]) -> None:
        """Look at what is due in one of some partitions, the next each time: one page."""
        if not held or not self._epochs.fresh:  # an epoch that we have not read may keep what looks over
            return
        names = self._partitions[held[self._sweeps % len(held)]]
        self._sweeps += 1
        now_ms = time.time_ns() // 1_000_000
        look: Command = ["ZRANGE", names.ends, "-inf", now_ms // 1000, "BYSCORE", "LIMIT", 0, PAGE]
        (page,) = await self._store.ask([look])
        due = [member.decode() for member in page]
        found = await self._store.ask([["HGETALL", _key(names, member)] for member in due])
        for member, flat in zip(due, found, strict=True):
            await self._look(names, member, list(held_records(flat)), now_ms)

    async def _look(self, names: PartitionKeys, member: str, records: Sequence[Held], now_ms: int) -> None:
        """Forget what is over in one hash, and note when the rest is to be looked at."""
        if any(held.record is None for held in records):
            self._log.error("a record cannot be read", partition=names.tag)
        over = [(held, self._over_ms(held.record, now_ms)) for held in records]
        past = [held for held, over_ms in over if over_ms <= now_ms]
        # Past every end that is left, even where nothing is: a change that comes between is looked at again.
        look_ms = min((over_ms for _, over_ms in over if over_ms > now_ms), default=now_ms + UNREADABLE_MS)
        permits = [held.record for held in past if isinstance(held.record, EmployeePermit)]
        # Out of the index first: a stop between the two leaves no entry behind that leads nowhere.
        await self._store.ask([command for permit in permits for command in self._index.removed(permit)])
        await changes.forget(
            self._store,
            names,
            hash_key=_key(names, member),
            member=member,
            look_s=-(-look_ms // 1000),
            records=[(held.field, held.version) for held in past],
        )
        left = await self._store.ask([["HGET", _key(names, member), held.field] for held in past])
        for held, raw in zip(past, left, strict=True):
            if raw is not None and isinstance(held.record, EmployeePermit):  # changed meanwhile: it stays
                await self._store.ask(self._index.added(held.record))

    def _over_ms(self, record: EmployeePermit | AmendedPermit | None, now_ms: int) -> int:
        """When a record may be forgotten."""
        if record is None:
            return now_ms + UNREADABLE_MS
        if isinstance(record, AmendedPermit):
            return record.ends_ms + RETENTION_MS
        return effective(record, self._epochs.known, now_ms).until_ms + RETENTION_MS


def _key(names: PartitionKeys, member: str) -> str:
    return names.holder(bytes.fromhex(member))
