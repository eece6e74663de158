"""Delegation: the seal-authorised person lets others act for the organisation, each within powers and until an end.

Reads and writes the organisation's record. A delegate acts with a token of their own, and in their own name.
"""

from collections.abc import Callable
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from api.auth import need_seal
from api.authority import Acting, Organisations, busy, not_here
from api.contract import Answer, Call, Operation
from api.organisations import SCOPE
from api.shown import DelegatePerson, DelegateShown, delegate_shown
from permits.applications import moment_ms
from permits.calendar import DAY_MS
from permits.employees import Flaw
from permits.fin import canonical
from permits.messages import ENCODER
from permits.organisations import MOST_DELEGATION_DAYS, MOST_DELEGATIONS, POWERS, Delegation, Power
from runtime.employment import MOST_TRIES
from runtime.keyring import Keyring, UnsealedError
from runtime.problems import ProblemError
from runtime.telemetry import Log

_PATH: Final = "/v1/organisations/{tin}/delegates"
_PERSON: Final = msgspec.json.Decoder(DelegatePerson)
_log = Log("api")


class NewDelegate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may act for the organisation, how, and until when."""

    fin: Annotated[str, Meta(max_length=16, examples=["5ABC12D"])]
    name: Annotated[str, Meta(min_length=2, max_length=120)]
    powers: Annotated[list[Power], Meta(min_length=1, max_length=len(POWERS))]
    until: Annotated[
        str, Meta(max_length=35, description="a date in Baku, to its end, or a time", examples=["2026-12-31"])
    ]


class Delegates(msgspec.Struct, frozen=True):
    """All delegations that are kept, the newest last."""

    delegates: list[DelegateShown]


class DelegatesDoor:
    """The operations and what they need."""

    def __init__(self, organisations: Organisations, *, keyring: Keyring, now_ms: Callable[[], int]) -> None:
        self._organisations = organisations
        self._keyring = keyring
        self._now_ms = now_ms

    def operations(self) -> list[Operation]:
        """What this module adds to the api."""
        return [
            Operation(
                method="POST",
                path=_PATH,
                name="grant_delegation",
                summary="Let another person act for the organisation (an act under seal)",
                tag="delegates",
                handler=self.grant,
                scope=SCOPE,
                body=NewDelegate,
                answers={201: DelegateShown},
                problems=(404, 409, 422),
                idempotency_key="required",
            ),
            Operation(
                method="GET",
                path=_PATH,
                name="list_delegations",
                summary="Who may act for the organisation, or might",
                tag="delegates",
                handler=self.list_all,
                scope=SCOPE,
                answers={200: Delegates},
                problems=(404,),
            ),
            Operation(
                method="DELETE",
                path=f"{_PATH}/{{delegate}}",
                name="revoke_delegation",
                summary="End a delegation now (an act under seal)",
                tag="delegates",
                handler=self.revoke,
                scope=SCOPE,
                answers={200: DelegateShown},
                problems=(404,),
            ),
        ]

    async def grant(self, call: Call) -> Answer:
        """A repeat with the same idempotency key finds the delegation that it made."""
        for _ in range(MOST_TRIES):
            acting = await self._organisations.sealing(call)
            need_seal(call.caller)
            new = self._asked(call, acting)
            standing = acting.organisation.delegations
            found = next((delegation for delegation in standing if delegation.id == new.id), None)
            if found is not None:
                if found.request != new.request:
                    raise ProblemError(422, "Not acceptable", "this Idempotency-Key belongs to another request")
                return self._granted(call, found)
            changed = msgspec.structs.replace(
                acting.organisation, delegations=(*_with_room(standing, self._now_ms()), new)
            )
            if await self._organisations.change(
                changed, version=acting.version, deed="grant", actor=acting.actor, reason=f"delegation {new.id}"
            ):
                return self._granted(call, new)
        raise busy()

    async def list_all(self, call: Call) -> Answer:
        """For the seal-authorised person."""
        acting = await self._organisations.sealing(call)
        shown = [self._shown(delegation, call) for delegation in acting.organisation.delegations]
        return Answer(body=Delegates(delegates=shown))

    async def revoke(self, call: Call) -> Answer:
        """Revoked once; again, it stays as it is."""
        for _ in range(MOST_TRIES):
            acting = await self._organisations.sealing(call)
            need_seal(call.caller)
            standing, name = acting.organisation.delegations, call.path("delegate")
            found = next((delegation for delegation in standing if delegation.id == name), None)
            if found is None:
                raise not_here()
            if found.revoked_ms is not None:
                return Answer(body=self._shown(found, call))
            revoked = msgspec.structs.replace(found, revoked_ms=self._now_ms())
            changed = msgspec.structs.replace(
                acting.organisation,
                delegations=tuple(revoked if delegation is found else delegation for delegation in standing),
            )
            if await self._organisations.change(
                changed, version=acting.version, deed="revoke", actor=acting.actor, reason=f"delegation {name}"
            ):
                return Answer(body=self._shown(revoked, call))
        raise busy()

    def _asked(self, call: Call, acting: Acting) -> Delegation:
        """The delegation that a request describes; ProblemError 422 with all that is wrong with it."""
        asked, now_ms = call.body, self._now_ms()
        fin = canonical(asked.fin)
        name = " ".join(asked.name.split())
        until_ms = moment_ms(asked.until, ends=True)
        flaws: list[Flaw] = []
        if fin is None:
            flaws.append(Flaw("fin", "a FIN has seven letters and digits, without I and O"))
        if not asked.name.isprintable() or not any(letter.isalpha() for letter in name):
            flaws.append(Flaw("name", "has no letter, or one that is no text"))
        if until_ms is None or not now_ms < until_ms <= now_ms + MOST_DELEGATION_DAYS * DAY_MS:
            flaws.append(Flaw("until", f"must be a date or time within {MOST_DELEGATION_DAYS} days from now"))
        if fin is None or until_ms is None or flaws:
            raise ProblemError(422, "Not acceptable", errors=flaws)
        tin, (key, body) = acting.organisation.tin, self._organisations.digests(call)
        return Delegation(
            id=key,
            person=self._organisations.person(fin),
            sealed=self._keyring.seal(ENCODER.encode(DelegatePerson(fin=fin, name=name)), tin),
            powers=tuple(power for power in POWERS if power in asked.powers),
            from_ms=now_ms,
            until_ms=until_ms,
            granted_by=acting.actor.subject,
            request=body,
        )

    def _granted(self, call: Call, delegation: Delegation) -> Answer:
        location = f"/v1/organisations/{call.path('tin')}/delegates/{delegation.id}"
        return Answer(body=self._shown(delegation, call), status=201, location=location)

    def _shown(self, delegation: Delegation, call: Call) -> DelegateShown:
        try:
            person = _PERSON.decode(self._keyring.open(delegation.sealed, call.path("tin")))
        except UnsealedError:
            _log.error("a delegate cannot be unsealed", key=delegation.sealed.partition(".")[0])
            person = None
        return delegate_shown(delegation, person)


def _with_room(standing: tuple[Delegation, ...], now_ms: int) -> tuple[Delegation, ...]:
    """The delegations without the oldest that is over, where there is no room for one more."""
    if len(standing) < MOST_DELEGATIONS:
        return standing
    for at, delegation in enumerate(standing):
        if delegation.revoked_ms is not None or delegation.until_ms <= now_ms:
            return standing[:at] + standing[at + 1 :]
    raise ProblemError(409, "Conflict", f"at most {MOST_DELEGATIONS} delegations may be in force")
