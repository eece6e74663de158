"""What all that is kept of an owner amounts to now: permits by SMS and of organisations, and refusals. Pure.

Called by `holders` with the day records of the last days and the records outside them, which win: an officer has
changed the permit, or it outlives its day record.
"""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from api.named import asked_ms, honoured_until_ms
from lua import changes
from lua.records import RecordEntry, entries
from permits import codes
from permits.amended import AmendedPermit
from permits.calendar import rfc3339
from permits.employees import EmployeePermit, Epoch, effective
from permits.outcomes import ENDED, REASON_OF, WITHDRAWN
from permits.partition import FIELD_BYTES
from permits.policy import Policy, Purpose

_RECORD: Final = msgspec.json.Decoder(EmployeePermit | AmendedPermit)
_REGISTRY_DEEDS: Final = ("confirm", "refuse")
_SETTLING_DEEDS: Final = (*_REGISTRY_DEEDS, "edit")
"""From the newest of them on a permit says what it says."""

ShownStatus = Literal["submitted", "confirmed", "refused", "transmitted", "active", "expired", "cancelled"]


class Permit(msgspec.Struct, frozen=True, gc=False):
    """A permit, or a refusal, as the api shows it. Times are RFC 3339 in UTC."""

    code: str | None
    """None on an SMS that was refused."""
    kind: Literal["sms", "organisation"]
    purpose: int | None
    status: ShownStatus
    valid_from: str | None
    valid_until: str | None
    """None on a permit: no end."""
    zone: str | None
    reason: str | None
    employer: str | None = None
    decided_at: str | None = None


class Standing(msgspec.Struct, frozen=True, gc=False):
    """A permit and what is not shown of it."""

    permit: Permit
    at_ms: int
    """When it was decided, or edited since; where no such act is kept, when the last one was."""
    owner: bytes
    zones: tuple[str, ...] = ()
    """Where it holds, each text saying the same; none: everywhere."""


def standing(
    records: Sequence[bytes | None],
    held: Sequence[bytes],
    *,
    partition: int,
    owner: bytes,
    policy: Policy,
    epochs: Sequence[Epoch],
    now_ms: int,
) -> list[Standing]:
    """All decisions of one owner, newest first; of every owner of the field, where `owner` is the field alone.

    An approval that is held back is not among them: it is no permit yet, and nobody shall learn of it early. Nor is an
    SMS that cancelled a permit: the permit itself tells.

    `records` from the newest day to the oldest, None where none is; `held` is what HGETALL replies.
    """
    found: list[Standing] = []
    amended: set[tuple[str, int]] = set()
    for record in _records(held) if held else ():
        if not record.owner.startswith(owner.hex()):
            continue
        if isinstance(record, AmendedPermit):
            amended.add((record.digest, record.decided_s))
            found.append(_amended(record, policy, now_ms))
        elif record.status != "draft":
            found.append(employed(record, epochs, now_ms))
    tag, field = owner[FIELD_BYTES:] or None, owner[:FIELD_BYTES]
    for value in records:
        if value:
            found += [
                _decided(entry, partition, field, policy, now_ms)
                for entry in reversed(entries(value, tag))
                if not entry.waiting
                and not entry.cancels
                and (not amended or (entry.digest.hex(), entry.decided_s) not in amended)
            ]
    if len(found) > 1:
        found.sort(key=_newest_first)
    return found


def employees(held: Sequence[bytes]) -> list[EmployeePermit]:
    """The employees' permits among the records that an HGETALL replies."""
    return [record for record in _records(held) if isinstance(record, EmployeePermit)]


def employed(record: EmployeePermit, epochs: Sequence[Epoch], now_ms: int) -> Standing:
    """An employee's permit, submitted at least."""
    now = effective(record, epochs, now_ms)
    decided_ms = next((act.at_ms for act in reversed(record.acts) if act.deed in _REGISTRY_DEEDS), None)
    permit = Permit(
        code=record.code,
        kind="organisation",
        purpose=None,
        status="submitted" if now.status == "draft" else now.status,
        valid_from=rfc3339(now.from_ms),
        valid_until=rfc3339(now.until_ms),
        zone=record.zone,
        reason=now.reason,
        employer=record.employer,
        decided_at=None if decided_ms is None else rfc3339(decided_ms),
    )
    settled_ms = (act.at_ms for act in reversed(record.acts) if act.deed in _SETTLING_DEEDS)
    at_ms = next(settled_ms, record.acts[-1].at_ms)
    return Standing(permit, at_ms, bytes.fromhex(record.owner), () if record.zone is None else (record.zone,))


def _amended(record: AmendedPermit, policy: Policy, now_ms: int) -> Standing:
    zone, zones = _zone(policy.at(record.asked_ms).purpose(record.purpose))
    decided_ms = record.decided_s * 1000
    # What was cancelled while it was held back was never valid.
    begun = record.status == "active" or not record.acts or record.acts[-1].at_ms >= record.from_ms
    permit = Permit(
        code=record.code,
        kind="sms",
        purpose=record.purpose or None,
        status="cancelled" if record.status == "cancelled" else "active" if now_ms < record.ends_ms else "expired",
        valid_from=rfc3339(record.from_ms) if begun else None,
        valid_until=rfc3339(record.until_ms) if begun and record.until_ms is not None else None,
        zone=zone,
        reason=record.reason,
        decided_at=rfc3339(decided_ms),
    )
    return Standing(permit, decided_ms, bytes.fromhex(record.owner), zones)


def _decided(entry: RecordEntry, partition: int, field: bytes, policy: Policy, now_ms: int) -> Standing:
    """An entry of a day record that nobody has changed since."""
    code = entry.purpose or None
    purpose = policy.at(asked_ms(entry)).purpose(code)
    zone, zones = _zone(purpose)
    decided_ms = entry.decided_s * 1000
    decided_at = rfc3339(decided_ms)
    if entry.letter == WITHDRAWN:
        cancelled = codes.encode(partition, field, entry.digest)
        permit = Permit(cancelled, "sms", code, "cancelled", None, None, zone, None)
    elif not entry.granted:
        reason = REASON_OF.get(entry.letter)
        permit = Permit(None, "sms", code, "refused", None, None, zone, reason, None, decided_at)
    else:
        until_ms = decided_ms + entry.minutes * 60_000 if entry.minutes else None
        permit = Permit(  # by place: it is made for most answers
            codes.encode(partition, field, entry.digest),
            "sms",
            code,
            "cancelled"
            if entry.letter == ENDED
            else "active"
            if now_ms < (until_ms or honoured_until_ms(decided_ms, purpose))
            else "expired",
            decided_at,
            None if until_ms is None else rfc3339(until_ms),
            zone,
            None,
            None,
            decided_at,
        )
    return Standing(permit, decided_ms, field + entry.tag, zones)


def _zone(purpose: Purpose | None) -> tuple[str | None, tuple[str, ...]]:
    """The zone as shown, and in all languages."""
    if purpose is None or purpose.zone is None:
        return None, ()
    return purpose.zone["en"], tuple(purpose.zone.values())


def _records(held: Sequence[bytes]) -> list[EmployeePermit | AmendedPermit]:
    return [_RECORD.decode(changes.read(raw)[1]) for raw in held[1::2]]


def _newest_first(found: Standing) -> int:
    return -found.at_ms
