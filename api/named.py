"""What a permit code names: SMS permits among the day records, amended ones, and employees' permits.

Reads `day:{p}:D` of the last days and `holder:{p}:<field>`, in one round trip.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from api.wires import Wires
from lua import changes
from lua.keys import PartitionKeys
from lua.records import RecordEntry, entries
from permits import codes
from permits.amended import AmendedPermit
from permits.calendar import day_name, day_start_ms, local_day
from permits.employees import EmployeePermit
from permits.outcomes import ENDED, WITHDRAWN
from permits.policy import Policy, Purpose
from runtime.permit_changes import Versioned

UNKNOWN_HONOURED_DAYS: Final = 2
"""For a permit without end whose purpose the policy no longer knows: the same as a purpose that says nothing."""
_RECORD: Final = msgspec.json.Decoder(EmployeePermit | AmendedPermit)


class SmsPermit(msgspec.Struct, frozen=True):
    """An SMS permit: as an officer left it, or as it was decided."""

    version: int
    """0: never amended."""
    permit: AmendedPermit
    purpose: Purpose | None
    """As the rules of the moment it was asked have it."""
    waiting: bool = False
    """Whether it is held back, until its `decided_s`."""
    day: str = ""
    """Of arrival, `YYYYMMDD`, of one that waits."""


class Named(msgspec.Struct, frozen=True):
    """All that a code names: nearly always one permit."""

    partition: int
    keys: PartitionKeys
    field: bytes
    permits: list[SmsPermit | Versioned]


class Naming:
    """Finds permits by their codes."""

    def __init__(
        self,
        wires: Wires,
        *,
        partitions: Sequence[PartitionKeys],
        policy: Callable[[], Policy],
        now_ms: Callable[[], int],
    ) -> None:
        self._wires = wires
        self._partitions = partitions
        self._policy = policy
        self._now_ms = now_ms

    async def find(self, code: str) -> Named | None:
        """What a code names; None where it can be no code of this store."""
        address = codes.decode(code)
        if address is None or address[0] >= len(self._partitions):
            return None
        partition, field, byte = address
        keys = self._partitions[partition]
        today = local_day(self._now_ms())
        days = range(today + 1, today - self._policy().keep_days - 1, -1)
        held, *records = await self._wires.read(
            ("HGETALL", keys.holder(field)), *(("HGET", keys.day(day_name(day)), field) for day in days)
        )
        sms: dict[str, SmsPermit] = {}
        employees: list[Versioned] = []
        for raw in held[1::2]:
            version, body = changes.read(raw)
            record = _RECORD.decode(body)
            if codes.decode(record.code) != address:
                continue
            if isinstance(record, AmendedPermit):
                sms[record.field] = self._sms(version, record)
            elif record.status != "draft":  # no permit yet
                employees.append(Versioned(version, record))
        for value in records:
            for entry in entries(value or b""):
                if entry.granted and entry.digest[0] == byte:
                    decided = self._decided(partition, field, entry)
                    sms.setdefault(decided.permit.field, decided)
        return Named(partition, keys, field, [*sms.values(), *employees])

    def _decided(self, partition: int, field: bytes, entry: RecordEntry) -> SmsPermit:
        """A permit as the day record has it."""
        owner = field + entry.tag
        purpose = self._policy().at(asked_ms(entry)).purpose(entry.purpose)
        from_ms = entry.decided_s * 1000
        until_ms = from_ms + entry.minutes * 60_000 if entry.minutes else None
        permit = AmendedPermit(
            code=codes.encode(partition, owner, entry.digest),
            owner=owner.hex(),
            digest=entry.digest.hex(),
            asked_ms=asked_ms(entry),
            decided_s=entry.decided_s,
            purpose=entry.purpose,
            from_ms=from_ms,
            until_ms=until_ms,
            ends_ms=honoured_until_ms(from_ms, purpose) if until_ms is None else until_ms,
            status="cancelled" if entry.letter in (WITHDRAWN, ENDED) else "active",
        )
        if entry.waiting:
            day = day_name(local_day(entry.arrived_s * 1000))
            return SmsPermit(0, permit, purpose, waiting=True, day=day)
        return self._sms(0, permit)

    def _sms(self, version: int, permit: AmendedPermit) -> SmsPermit:
        return SmsPermit(version, permit, self._policy().at(permit.asked_ms).purpose(permit.purpose))


def asked_ms(entry: RecordEntry) -> int:
    """When the SMS was asked, as far as the record tells: the moment of the quota's day that is nearest to arrival."""
    arrived_ms = entry.arrived_s * 1000
    if entry.days_to_arrival == 0:
        return arrived_ms
    day = local_day(arrived_ms) - entry.days_to_arrival
    return min(max(arrived_ms, day_start_ms(day)), day_start_ms(day + 1) - 1)


def honoured_until_ms(decided_ms: int, purpose: Purpose | None) -> int:
    """The Baku midnight after the last day on which a permit without end counts; the day of decision is the first."""
    days = UNKNOWN_HONOURED_DAYS if purpose is None else purpose.honoured_days
    return day_start_ms(local_day(decided_ms) + days)
