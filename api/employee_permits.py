"""An organisation's permits for its employees, one by one: created, shown, edited, submitted, deleted.

Reads and writes `holder:{p}` of the employee's document through `runtime.employment`, which puts what follows from each
change on `applications:{p}` and `outbox:{p}`. Bulk bodies on the same path go to the imports.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from api.authority import Acting, Organisations, busy, not_here
from api.contract import Answer, Call, Operation
from api.imports import ImportShown
from api.organisations import SCOPE
from api.shown import HistoryShown, PermitShown, employee_shown, history_shown, permit_shown, permit_tag
from permits.applications import PLACE_LETTERS, Row, moment_ms, read_row
from permits.employees import Deed, Effective, Epoch, Flaw, Request, Stored, effective, flaws
from permits.organisations import Authority, Organisation, Power
from runtime.employment import MOST_TRIES, Employment
from runtime.permit_changes import LIVE, Versioned
from runtime.problems import ProblemError

Enlist = Callable[[Call, Organisation, Authority], Awaitable[Answer]]
"""Takes a body of many rows: bytes of a JSON array, or of one of BULK_MEDIA."""
BULK_MEDIA: Final = (
    "text/csv",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/x-ndjson",
)
MOST_BYTES: Final = 32 << 20
_PATH: Final = "/v1/organisations/{tin}/permits"
_DIGITS: Final = 16
_Moment = Annotated[str, Meta(max_length=35)] | UnsetType
_Place = Annotated[str, Meta(min_length=1, max_length=PLACE_LETTERS)] | None | UnsetType


class PermitEdit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to change, written as at the creation; null takes zone or activity away."""

    valid_from: _Moment = UNSET
    valid_until: _Moment = UNSET
    zone: _Place = UNSET
    activity: _Place = UNSET


class PermitsDoor:
    """The operations and what they need."""

    def __init__(
        self,
        organisations: Organisations,
        employment: Employment,
        *,
        enlist: Enlist,
        accepts: Callable[[str], bool],
        epochs: Sequence[Epoch],
        now_ms: Callable[[], int],
    ) -> None:
        self._organisations = organisations
        self._employment = employment
        self._enlist = enlist
        self._accepts = accepts
        """Whether a canonical document counts."""
        self._epochs = epochs
        self._now_ms = now_ms

    def operations(self) -> list[Operation]:
        """What this module adds to the api."""
        one = f"{_PATH}/{{code}}"
        return [
            Operation(
                method="POST",
                path=_PATH,
                name="create_permits",
                summary="Apply for one employee's permit, or for many by an import",
                tag="permits",
                handler=self.create,
                scope=SCOPE,
                body=Row | list[msgspec.Raw],
                other_media=BULK_MEDIA,
                max_body_bytes=MOST_BYTES,
                answers={200: PermitShown, 201: PermitShown, 202: ImportShown},
                problems=(404, 409, 422),
                etag=True,
                idempotency_key="required",
            ),
            Operation(
                method="GET",
                path=one,
                name="show_permit",
                summary="One permit",
                tag="permits",
                handler=self.show,
                scope=SCOPE,
                answers={200: PermitShown},
                problems=(404,),
                etag=True,
            ),
            Operation(
                method="PATCH",
                path=one,
                name="edit_permit",
                summary="Change a permit's validity, zone or activity",
                tag="permits",
                handler=self.edit,
                scope=SCOPE,
                body=PermitEdit,
                answers={200: PermitShown},
                problems=(404, 409, 422),
                etag=True,
                if_match=True,
            ),
            Operation(
                method="DELETE",
                path=one,
                name="delete_permit",
                summary="Cancel a permit; it stays readable for a while",
                tag="permits",
                handler=self.delete,
                scope=SCOPE,
                answers={200: PermitShown},
                problems=(404, 409),
                etag=True,
                if_match=True,
            ),
            self._step("submit", "Submit a draft; what is submitted stays so", self.submit),
            self._step("reactivate", "Submit anew what a mass act deactivated", self.reactivate),
            Operation(
                method="GET",
                path=f"{one}/history",
                name="show_permit_history",
                summary="Who did what to a permit, and when",
                tag="permits",
                handler=self.history,
                scope=SCOPE,
                answers={200: HistoryShown},
                problems=(404,),
            ),
        ]

    def _step(self, word: str, summary: str, handler: Callable[[Call], Awaitable[Answer]]) -> Operation:
        return Operation(
            method="POST",
            path=f"{_PATH}/{{code}}/{word}",
            name=f"{word}_permit",
            summary=summary,
            tag="permits",
            handler=handler,
            scope=SCOPE,
            answers={200: PermitShown},
            problems=(404, 409),
            etag=True,
        )

    async def create(self, call: Call) -> Answer:
        """One application; a repeat with the same idempotency key finds the permit that it made."""
        acting = await self._organisations.acting(call, "apply")
        if not isinstance(call.body, Row):
            return await self._enlist(call, acting.organisation, acting.authority)
        digest, now_ms = "".join(self._organisations.digests(call)), self._now_ms()
        request = read_row(call.body, accepts=self._accepts, now_ms=now_ms, digest=digest)
        if not isinstance(request, Request):
            raise _unacceptable(request)
        organisation = acting.organisation
        (created,) = await self._employment.create(
            organisation.tin, organisation.name, [request], actor=acting.actor, now_ms=now_ms
        )
        standing = created.standing
        if standing is None:
            raise ProblemError(409, "Conflict", "this employee has too many permits")
        earlier = standing.permit.request
        if earlier != digest and earlier[:_DIGITS] == digest[:_DIGITS]:
            raise ProblemError(422, "Not acceptable", "this Idempotency-Key belongs to another request")
        where = f"/v1/organisations/{organisation.tin}/permits/{standing.permit.code}"
        if created.result == "conflict":
            raise ProblemError(
                409, "Conflict", f"the employee has the permit {standing.permit.code}", headers={"Location": where}
            )
        if created.result == "unchanged":
            return self._answer(acting, standing)
        return self._answer(acting, standing, status=201, location=where)

    async def show(self, call: Call) -> Answer:
        """One permit."""
        acting, standing = await self._standing(call, "read")
        return self._answer(acting, standing)

    async def edit(self, call: Call) -> Answer:
        """Of a permit that is not over; what changes nothing leaves no trace."""
        acting, standing = await self._standing(call, "edit")
        now = self._expected(call, standing)
        if now.status not in LIVE:
            raise ProblemError(409, "Conflict", f"the permit is {now.status}")
        permit, asked = standing.permit, call.body
        changed: dict[str, Any] = {
            **self._moments(asked, now),
            "zone": permit.zone if asked.zone is UNSET else asked.zone,
            "activity": permit.activity if asked.activity is UNSET else asked.activity,
        }
        wrong = [
            Flaw(name, "has a character that cannot be printed")
            for name in ("zone", "activity")
            if not (changed[name] or "").isprintable()
        ] + flaws(changed["from_ms"], changed["until_ms"], now_ms=self._now_ms())
        if wrong:
            raise _unacceptable(wrong)
        same = msgspec.structs.replace(permit, until_ms=now.until_ms)
        if msgspec.structs.replace(same, **changed) == same:
            return self._answer(acting, standing)
        return self._settled(acting, await self._amended(acting, standing, "edit", **changed))

    async def delete(self, call: Call) -> Answer:
        """Of a permit that is not over."""
        acting, standing = await self._standing(call, "cancel")
        now = self._expected(call, standing)
        if now.status not in LIVE:
            raise ProblemError(409, "Conflict", f"the permit is {now.status}")
        cancelled = await self._amended(
            acting, standing, "delete", status="cancelled", reason="deleted by its organisation", until_ms=now.until_ms
        )
        return self._settled(acting, cancelled)

    async def submit(self, call: Call) -> Answer:
        """A draft becomes an application."""
        return await self._submitted(call, "submit", "edit")

    async def reactivate(self, call: Call) -> Answer:
        """What an epoch deactivated becomes an application again, until the end that it had."""
        return await self._submitted(call, "reactivate", "apply", "edit")

    async def history(self, call: Call) -> Answer:
        """The acts that the permit's record keeps; all of them stand in the audit of acts."""
        _, standing = await self._standing(call, "read")
        return Answer(body=history_shown(standing.permit, self._epochs))

    async def _standing(self, call: Call, *powers: Power) -> tuple[Acting, Versioned]:
        """The permit of the path, where it is the organisation's, for who has any of some powers."""
        try:
            acting = await self._organisations.acting(call, powers[0])
        except ProblemError as refused:
            if refused.problem.status == 403 and powers[1:]:
                return await self._standing(call, *powers[1:])
            raise
        (standing,) = await self._employment.load([call.path("code")])
        if standing is None or standing.permit.tin != acting.organisation.tin:
            raise not_here()
        return acting, standing

    def _now(self, standing: Versioned) -> Effective:
        return effective(standing.permit, self._epochs, self._now_ms())

    def _expected(self, call: Call, standing: Versioned) -> Effective:
        """What a permit amounts to now, where that is what the caller saw."""
        now = self._now(standing)
        if call.if_match != permit_tag(standing, now, self._epochs):
            raise _changed()
        return now

    def _moments(self, asked: PermitEdit, now: Effective) -> dict[str, int]:
        """Beginning and end as they shall be; ProblemError 422 where one cannot be read."""
        read = {
            "valid_from": now.from_ms if asked.valid_from is UNSET else moment_ms(asked.valid_from),
            "valid_until": now.until_ms if asked.valid_until is UNSET else moment_ms(asked.valid_until, ends=True),
        }
        found = {name: at_ms for name, at_ms in read.items() if at_ms is not None}
        if len(found) < len(read):
            raise _unacceptable([Flaw(name, "neither a date nor a time with its zone") for name in read.keys() - found])
        return {"from_ms": found["valid_from"], "until_ms": found["valid_until"]}

    async def _submitted(self, call: Call, deed: Deed, *powers: Power) -> Answer:
        """A repeat finds the permit submitted, or further, and changes nothing."""
        for _ in range(MOST_TRIES):
            acting, standing = await self._standing(call, *powers)
            now, permit = self._now(standing), standing.permit
            if now.status in LIVE and now.status != "draft":
                return self._answer(acting, standing)
            by_epoch = now.status == "cancelled" and permit.status != "cancelled" and now.until_ms > self._now_ms()
            if not (by_epoch if deed == "reactivate" else now.status == "draft"):
                raise ProblemError(409, "Conflict", f"the permit is {now.status}")
            submitted = await self._amended(acting, standing, deed, status="submitted", until_ms=now.until_ms)
            if submitted is not None:
                return self._answer(acting, submitted)
        raise busy()

    async def _amended(
        self,
        acting: Acting,
        standing: Versioned,
        deed: Deed,
        *,
        status: Stored | None = None,
        reason: str | None = None,
        **fields: Any,
    ) -> Versioned | None:
        """The permit changed, unless another change came first; it has seen all epochs now, as its fields tell."""
        return await self._employment.amend(
            standing,
            deed=deed,
            actor=acting.actor,
            now_ms=self._now_ms(),
            status=status,
            reason=reason,
            epoch=len(self._epochs),
            **fields,
        )

    def _settled(self, acting: Acting, amended: Versioned | None) -> Answer:
        if amended is None:
            raise _changed()
        return self._answer(acting, amended)

    def _answer(self, acting: Acting, standing: Versioned, *, status: int = 200, location: str | None = None) -> Answer:
        now = self._now(standing)
        employee = employee_shown(self._employment, standing.permit) if acting.may_read else None
        return Answer(
            body=permit_shown(standing.permit, now, employee),
            status=status,
            etag=permit_tag(standing, now, self._epochs),
            location=location,
        )


def _unacceptable(errors: Sequence[Flaw]) -> ProblemError:
    return ProblemError(422, "Not acceptable", errors=errors)


def _changed() -> ProblemError:
    return ProblemError(412, "Precondition failed", "the permit has changed since you saw it; look again")
