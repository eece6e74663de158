"""Employees' permits, held by their organisations: the record, its statuses, and what it amounts to at a moment.

A record rests in the holder's partition. Epochs act on all records at once: each record names the last epoch it has
seen, and `effective` folds the later ones.
"""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

Stored = Literal["draft", "submitted", "confirmed", "refused", "transmitted", "cancelled"]
Status = Literal["draft", "submitted", "confirmed", "refused", "transmitted", "active", "expired", "cancelled"]
"""What people see: transmitted, active and expired are one stored status at different times."""
Deed = Literal[
    "create", "submit", "edit", "confirm", "refuse", "transmit", "reactivate", "extend", "cancel", "delete", "check",
    "look_up", "register", "grant", "revoke", "proclaim", "propose", "withdraw", "block", "unblock",
    "requeue", "drop",
]  # fmt: skip
SealMethod = Literal["asan_imza", "e_signature"]

DAY_MS: Final = 86_400_000
RETENTION_MS: Final = 30 * DAY_MS
"""How long a permit stays readable after its end, as the citizen's past permits."""
MOST_DAYS: Final = 366
"""Longest validity that an organisation may ask for."""
MOST_ACTS: Final = 24
"""Acts kept with a record; older ones stand in the audit of acts alone."""


class Act(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that somebody did, in their own name. Times are milliseconds since 1970."""

    at_ms: int
    actor: str
    """Subject of the token, or the role that acted by itself."""
    deed: Deed
    status: str = ""
    """Stored status after the act."""
    reason: str = ""
    method: SealMethod | None = None
    under: str = ""
    """Delegation whose authority was used; empty: the seal-authorised person's own, or a service's."""
    trace: str = ""


class AuditAct(Act, frozen=True, omit_defaults=True):
    """An act as it stands on `acts:{p}`: with what it was done to. Never a name or a number of a person."""

    code: str = ""
    owner: str = ""
    """Keyed hash of the document, 16 hex digits."""
    tin: str = ""
    client: str = ""
    zone: str = ""
    valid: bool | None = None
    """What a check found."""
    policy: str = ""
    """Version of the rules that was proposed, confirmed or withdrawn."""
    list: str = ""
    """Status list that a document was put on or taken off."""
    from_ms: int = 0
    until_ms: int = 0
    """Of its place there; 0: no end."""
    letter: str = ""
    """Dead letter that was put back or dropped: its kind and name."""
    reply_id: str = ""
    """Of a letter that was a reply, or would have been one."""


class Employee(msgspec.Struct, frozen=True):
    """Who the permit is for: rests sealed only."""

    fin: str
    document: str
    name: str
    phone: str | None = None


class EmployeePermit(msgspec.Struct, frozen=True, tag_field="kind", tag="organisation"):
    """The record of one employee's permit. Times are milliseconds since 1970."""

    code: str
    owner: str
    """Keyed hash of the document, 16 hex digits."""
    person: str
    """Keyed hash of the FIN, 16 hex digits."""
    person_partition: int
    tin: str
    employer: str
    status: Stored
    from_ms: int
    until_ms: int
    epoch: int
    """Number of the last epoch that this record has seen."""
    employee: str
    """Sealed `Employee`; bound to the owner."""
    reason: str | None = None
    zone: str | None = None
    activity: str | None = None
    certificate: str | None = None
    """Sealed facility and number of the certificate that extended it, bound to the owner."""
    request: str = ""
    """Digest of the request that created it: its repeat finds it."""
    acts: tuple[Act, ...] = ()


class Epoch(msgspec.Struct, frozen=True, omit_defaults=True):
    """An act on all organisations' permits at once."""

    number: int
    action: Literal["extend", "deactivate"]
    at_ms: int
    reason: str
    actor: str
    request: str
    """Digest of the request: its repeat is the same epoch."""
    until_ms: int = 0
    """New end, for `extend`."""
    trace: str = ""


class Effective(msgspec.Struct, frozen=True):
    """What a record amounts to at a moment."""

    status: Status
    reason: str | None
    from_ms: int
    until_ms: int


def effective(permit: EmployeePermit, epochs: Sequence[Epoch], now_ms: int) -> Effective:
    """The fold of the epochs after the one that the permit has seen; `epochs` in order, the first has number 1."""
    status, reason, until_ms = permit.status, permit.reason, permit.until_ms
    if status in ("submitted", "confirmed", "transmitted"):
        for epoch in epochs[permit.epoch :]:
            if until_ms <= epoch.at_ms:
                break  # it had ended: no later epoch brings it back
            if epoch.action == "deactivate":
                status, reason = "cancelled", f"deactivated: {epoch.reason}"
                break
            until_ms = max(until_ms, epoch.until_ms)
    return Effective(_shown(status, permit.from_ms, until_ms, now_ms), reason, permit.from_ms, until_ms)


def _shown(status: Stored, from_ms: int, until_ms: int, now_ms: int) -> Status:
    if status in ("draft", "submitted", "confirmed", "transmitted") and now_ms >= until_ms:
        return "expired"
    if status == "transmitted" and now_ms >= from_ms:
        return "active"
    return status


def with_act(acts: tuple[Act, ...], act: Act) -> tuple[Act, ...]:
    """The history with one act more, within its room: the first stays; traces stand in the audit alone."""
    grown = (*acts, msgspec.structs.replace(act, trace=""))
    return grown if len(grown) <= MOST_ACTS else (grown[0], *grown[-(MOST_ACTS - 1) :])


class Flaw(msgspec.Struct, frozen=True):
    """What is wrong with an application, without repeating any of it."""

    field: str
    error: str


class Actor(msgspec.Struct, frozen=True):
    """Who acts, and by what right."""

    subject: str
    client: str = ""
    method: SealMethod | None = None
    under: str = ""
    trace: str = ""


class Request(msgspec.Struct, frozen=True):
    """What an organisation asks for one employee, read and checked: all in canonical form."""

    employee: Employee
    from_ms: int
    until_ms: int
    zone: str | None = None
    activity: str | None = None
    draft: bool = False
    """To be submitted later."""
    digest: str = ""
    """Of the request's idempotency key; empty: it has none."""


def flaws(from_ms: int, until_ms: int, *, now_ms: int) -> list[Flaw]:
    """What is wrong with the times of a request: nothing, where the list is empty."""
    found: list[Flaw] = []
    if from_ms < 0:
        found.append(Flaw("valid_from", "is before 1970"))
    if until_ms <= from_ms:
        found.append(Flaw("valid_until", "must be after valid_from"))
    elif until_ms <= now_ms:
        found.append(Flaw("valid_until", "has passed"))
    elif until_ms - max(from_ms, now_ms) > MOST_DAYS * DAY_MS:
        found.append(Flaw("valid_until", f"must be within {MOST_DAYS} days of the beginning"))
    elif from_ms - now_ms > MOST_DAYS * DAY_MS:
        found.append(Flaw("valid_from", f"must be within {MOST_DAYS} days from now"))
    return found
