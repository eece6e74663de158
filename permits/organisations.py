"""Organisations: who may act for one, and under which authority.

The seal-authorised person may do everything; a delegate what their delegation says, until it ends.
"""

from typing import Final, Literal, get_args

import msgspec

from permits.employees import Act

Power = Literal["read", "apply", "edit", "cancel"]
"""What a delegation may allow: see permits; create, import, and bring back what a mass act ended; edit, submit, and
bring back as well; cancel and delete."""
POWERS: Final[tuple[Power, ...]] = get_args(Power)
MOST_DELEGATIONS: Final = 200
MOST_DELEGATION_DAYS: Final = 366


class Delegation(msgspec.Struct, frozen=True):
    """A grant to another person. Times are milliseconds since 1970."""

    id: str
    person: str
    """Keyed hash of the delegate's FIN, 16 hex digits."""
    sealed: str
    """Sealed JSON of FIN and name, bound to the tax number."""
    powers: tuple[Power, ...]
    from_ms: int
    until_ms: int
    granted_by: str
    request: str = ""
    revoked_ms: int | None = None

    def stands(self, now_ms: int) -> bool:
        """Whether it holds at a moment."""
        return self.revoked_ms is None and self.from_ms <= now_ms < self.until_ms


class Organisation(msgspec.Struct, frozen=True):
    """The record of one organisation."""

    tin: str
    name: str
    registered_ms: int
    seal: str
    """Keyed hash of the FIN of the seal-authorised person, 16 hex digits."""
    activity: str | None = None
    delegations: tuple[Delegation, ...] = ()
    acts: tuple[Act, ...] = ()


class Authority(msgspec.Struct, frozen=True):
    """That somebody may act: under which delegation, "" for the seal."""

    under: str


def authority(
    organisation: Organisation, *, person: str, tin: str | None, power: Power, now_ms: int
) -> Authority | None:
    """Whose authority a person has for an act, or None; `tin` is what the person's certificate seals for."""
    if tin == organisation.tin and person == organisation.seal:
        return Authority("")
    for delegation in organisation.delegations:
        if delegation.person == person and power in delegation.powers and delegation.stands(now_ms):
            return Authority(delegation.id)
    return None
