"""What the api shows of organisations, their delegates and their employees' permits: records, as callers see them.

Reads and writes nothing. Times are RFC 3339 in UTC.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from api.contract import etag_of
from permits.calendar import rfc3339
from permits.employees import Act, Deed, Effective, Employee, EmployeePermit, Epoch, SealMethod, Status
from permits.organisations import Delegation, Organisation, Power
from runtime.employment import Employment
from runtime.keyring import UnsealedError
from runtime.permit_changes import Versioned
from runtime.telemetry import Log

_log = Log("api")


class OrganisationShown(msgspec.Struct, frozen=True):
    """An organisation."""

    tin: str
    name: str
    activity: str | None
    registered_at: str


class DelegatePerson(msgspec.Struct, frozen=True):
    """Who a delegate is: rests sealed only."""

    fin: str
    name: str


class DelegateShown(msgspec.Struct, frozen=True):
    """A delegation; it holds from `granted_at` until `until`, or until it is revoked."""

    id: str
    person: DelegatePerson | None
    """None where the key that seals it is missing."""
    powers: tuple[Power, ...]
    granted_at: str
    granted_by: str
    until: str
    revoked_at: str | None


class PermitShown(msgspec.Struct, frozen=True):
    """An employee's permit, with its status at this moment."""

    code: str
    kind: Literal["organisation"]
    status: Status
    reason: str | None
    valid_from: str
    valid_until: str
    zone: str | None
    activity: str | None
    employee: Employee | None
    """None for a delegate without the power `read`, or where the key that seals it is missing."""


class PermitPage(msgspec.Struct, frozen=True):
    """Permits, newest first. A page may be short, even empty, while there is a next one."""

    permits: list[PermitShown]
    next: str | None
    """The `cursor` of the next page; None: this was the last."""


class ActShown(msgspec.Struct, frozen=True):
    """Something that somebody did, in their own name."""

    at: str
    actor: str
    deed: Deed
    status: str | None
    reason: str | None
    method: SealMethod | None
    under: str | None
    """Delegation whose authority was used; None: the actor's own."""


class HistoryShown(msgspec.Struct, frozen=True):
    """A permit's acts, oldest first, among them the acts on all permits since its creation."""

    acts: list[ActShown]


def organisation_shown(organisation: Organisation) -> OrganisationShown:
    """An organisation's record, without its persons."""
    return OrganisationShown(
        tin=organisation.tin,
        name=organisation.name,
        activity=organisation.activity,
        registered_at=rfc3339(organisation.registered_ms),
    )


def delegate_shown(delegation: Delegation, person: DelegatePerson | None) -> DelegateShown:
    """A delegation and the person it is for."""
    return DelegateShown(
        id=delegation.id,
        person=person,
        powers=delegation.powers,
        granted_at=rfc3339(delegation.from_ms),
        granted_by=delegation.granted_by,
        until=rfc3339(delegation.until_ms),
        revoked_at=None if delegation.revoked_ms is None else rfc3339(delegation.revoked_ms),
    )


def permit_shown(permit: EmployeePermit, now: Effective, employee: Employee | None) -> PermitShown:
    """A permit as it stands now."""
    return PermitShown(
        code=permit.code,
        kind="organisation",
        status=now.status,
        reason=now.reason,
        valid_from=rfc3339(now.from_ms),
        valid_until=rfc3339(now.until_ms),
        zone=permit.zone,
        activity=permit.activity,
        employee=employee,
    )


def employee_shown(employment: Employment, permit: EmployeePermit) -> Employee | None:
    """Who a permit is for; None, and a line in the log, where that cannot be unsealed."""
    try:
        return employment.employee(permit)
    except UnsealedError:
        _log.error("an employee cannot be unsealed", key=permit.employee.partition(".")[0])
        return None


def permit_tag(standing: Versioned, now: Effective, epochs: Sequence[Epoch]) -> str:
    """A permit's entity tag: record, epochs, and the status, which time alone changes too."""
    return f"{etag_of(standing.version, len(epochs))}.{now.status}"


def history_shown(permit: EmployeePermit, epochs: Sequence[Epoch]) -> HistoryShown:
    """All acts that a permit's record keeps, and the epochs since the first of them."""
    since_ms = permit.acts[0].at_ms if permit.acts else 0
    acts = [*permit.acts, *(_epoch_act(epoch) for epoch in epochs if epoch.at_ms >= since_ms)]
    return HistoryShown(acts=[_act_shown(act) for act in sorted(acts, key=lambda act: act.at_ms)])


def _epoch_act(epoch: Epoch) -> Act:
    said = "all deactivated" if epoch.action == "deactivate" else f"all extended until {rfc3339(epoch.until_ms)}"
    return Act(at_ms=epoch.at_ms, actor=epoch.actor, deed="proclaim", reason=f"{said}: {epoch.reason}")


def _act_shown(act: Act) -> ActShown:
    return ActShown(
        at=rfc3339(act.at_ms),
        actor=act.actor,
        deed=act.deed,
        status=act.status or None,
        reason=act.reason or None,
        method=act.method,
        under=act.under or None,
    )
