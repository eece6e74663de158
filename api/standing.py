"""What the entries of an owner's day records amount to now: active and expired permits, and refusals. Pure.

Called by `status` with the records of the last days.
"""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from lua.records import RecordEntry, entries
from permits import codes
from permits.calendar import day_start_ms, local_day, rfc3339
from permits.outcomes import REASON_OF, Reason
from permits.partition import FIELD_BYTES
from permits.policy import Policy, Purpose

UNKNOWN_HONOURED_DAYS: Final = 2
"""For a permit without end whose purpose the policy no longer knows: the same as a purpose that says nothing."""


class Permit(msgspec.Struct, frozen=True):
    """One decision as the api shows it. Times are RFC 3339 in UTC, to the second."""

    code: str | None
    kind: Literal["sms"]
    purpose: int | None
    status: Literal["active", "expired", "refused"]
    valid_from: str | None
    valid_until: str | None
    """None on a permit: no end."""
    zone: str | None
    reason: Reason | None


def standing(
    records: Sequence[bytes | None], *, partition: int, owner: bytes, policy: Policy, now_ms: int
) -> list[Permit]:
    """All decisions of one owner, newest first; `records` from the newest day to the oldest, None where none is."""
    found = [entry for value in records if value for entry in reversed(entries(value, owner[FIELD_BYTES:]))]
    found.sort(key=lambda entry: entry.decided_s, reverse=True)
    return [_shown(entry, partition, owner, policy, now_ms) for entry in found]


def _shown(entry: RecordEntry, partition: int, owner: bytes, policy: Policy, now_ms: int) -> Permit:
    purpose = policy.at(_asked_ms(entry)).purpose(entry.purpose)
    zone = None if purpose is None or purpose.zone is None else purpose.zone["en"]
    if not entry.approved:
        return Permit(
            code=None,
            kind="sms",
            purpose=entry.purpose or None,
            status="refused",
            valid_from=None,
            valid_until=None,
            zone=zone,
            reason=REASON_OF.get(entry.letter),
        )
    from_ms = entry.decided_s * 1000
    until_ms = from_ms + entry.minutes * 60_000 if entry.minutes else None
    ends_ms = _honoured_until_ms(from_ms, purpose) if until_ms is None else until_ms
    return Permit(
        code=codes.encode(partition, owner, entry.digest),
        kind="sms",
        purpose=entry.purpose or None,
        status="active" if now_ms < ends_ms else "expired",
        valid_from=rfc3339(from_ms),
        valid_until=None if until_ms is None else rfc3339(until_ms),
        zone=zone,
        reason=None,
    )


def _asked_ms(entry: RecordEntry) -> int:
    """When the SMS was asked, as far as the record tells: the moment of the quota's day that is nearest to arrival."""
    arrived_ms = entry.arrived_s * 1000
    day = local_day(arrived_ms) - entry.days_to_arrival
    return min(max(arrived_ms, day_start_ms(day)), day_start_ms(day + 1) - 1)


def _honoured_until_ms(decided_ms: int, purpose: Purpose | None) -> int:
    """The Baku midnight after the last day on which a permit without end counts; the day of decision is the first."""
    days = UNKNOWN_HONOURED_DAYS if purpose is None else purpose.honoured_days
    return day_start_ms(local_day(decided_ms) + days)
