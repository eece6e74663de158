"""Organisations: registered by their seal-authorised persons, and shown to whoever may act for them.

Reads and writes `organisations:{q}`.
"""

from collections.abc import Callable
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from api.auth import need_seal
from api.authority import Organisations, actor
from api.contract import Answer, Call, Operation, etag_of
from api.shown import OrganisationShown, organisation_shown
from permits.employees import Flaw
from permits.organisations import Authority, Organisation
from runtime.problems import ProblemError

SCOPE: Final = "organisation"
"""What tokens of organisations' persons, the seal-authorised ones and their delegates, carry."""


class NewOrganisation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An organisation as its seal-authorised person writes it."""

    tin: Annotated[str, Meta(pattern=r"^[0-9]{10}$", description="tax number", examples=["1234567890"])]
    name: Annotated[str, Meta(min_length=2, max_length=120)]
    activity: Annotated[str, Meta(min_length=1, max_length=80)] | UnsetType = UNSET


class OrganisationsDoor:
    """The operations and what they need."""

    def __init__(self, organisations: Organisations, *, now_ms: Callable[[], int]) -> None:
        self._organisations = organisations
        self._now_ms = now_ms

    def operations(self) -> list[Operation]:
        """What this module adds to the api."""
        return [
            Operation(
                method="POST",
                path="/v1/organisations",
                name="register_organisation",
                summary="Register an organisation with its seal-authorised person; again by the same person: no change",
                tag="organisations",
                handler=self.register,
                scope=SCOPE,
                body=NewOrganisation,
                answers={200: OrganisationShown, 201: OrganisationShown},
                problems=(409, 422),
                etag=True,
                idempotency_key="optional",
            ),
            Operation(
                method="GET",
                path="/v1/organisations/{tin}",
                name="show_organisation",
                summary="An organisation, for whoever may act for it",
                tag="organisations",
                handler=self.show,
                scope=SCOPE,
                answers={200: OrganisationShown},
                problems=(404,),
                etag=True,
            ),
        ]

    async def register(self, call: Call) -> Answer:
        """An act under seal. A tax number is registered once, so a repeat needs no idempotency key."""
        caller, asked = call.caller, call.body
        if caller.fin is None or caller.tin != asked.tin:
            raise ProblemError(
                403, "Forbidden", "only a person whose certificate seals for it registers an organisation"
            )
        need_seal(caller)
        name = " ".join(asked.name.split())
        activity = None if asked.activity is UNSET else asked.activity
        flaws: list[Flaw] = []
        if not asked.name.isprintable() or not any(letter.isalpha() for letter in name):
            flaws.append(Flaw("name", "has no letter, or one that is no text"))
        if activity is not None and not activity.isprintable():
            flaws.append(Flaw("activity", "has a character that cannot be printed"))
        if flaws:
            raise ProblemError(422, "Not acceptable", errors=flaws)
        organisation = Organisation(
            tin=asked.tin,
            name=name,
            registered_ms=self._now_ms(),
            seal=self._organisations.person(caller.fin),
            activity=activity,
        )
        new = await self._organisations.change(
            organisation, version=0, deed="register", actor=actor(call, Authority(""))
        )
        if new:
            return _answer(1, organisation, status=201)
        standing = await self._organisations.load(asked.tin)
        if standing is None or standing[1].seal != organisation.seal:
            raise ProblemError(409, "Conflict", "another person has registered this organisation")
        version, found = standing
        if (found.name, found.activity) != (organisation.name, organisation.activity):
            raise ProblemError(409, "Conflict", "you have registered this organisation with another name or activity")
        return _answer(version, found, status=200)

    async def show(self, call: Call) -> Answer:
        """One organisation."""
        acting = await self._organisations.acting(call)
        return _answer(acting.version, acting.organisation, status=200)


def _answer(version: int, organisation: Organisation, *, status: int) -> Answer:
    return Answer(
        body=organisation_shown(organisation),
        status=status,
        etag=etag_of(version, 0),
        location=f"/v1/organisations/{organisation.tin}" if status == 201 else None,
    )
