"""`/v1/permits/{code}`: an officer cancels a permit with a reason, or extends it by a doctor's certificate.

`named` finds the permit, `amending` changes it. What was done already is answered as the first time. Writes to
`acts:{p}` what changed nothing: an officer has looked all the same. No record, no answer.
"""

from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from api.amending import Amending, Amendment, Certificate, ChangedPermit
from api.authority import busy, not_here
from api.contract import Answer, Call, Operation
from api.named import Named, Naming, SmsPermit
from api.wires import Wires
from lua.keys import PartitionKeys
from permits import codes
from permits.applications import moment_ms
from permits.calendar import DAY_MS
from permits.employees import Actor, AuditAct, Epoch
from permits.messages import ENCODER
from permits.replies import Script
from runtime.employment import Employment
from runtime.keyring import Keyring
from runtime.permit_changes import LIVE
from runtime.problems import ProblemError

MOST_EXTENSION_DAYS: Final = 7
MOST_TRIES: Final = 8


class Cancellation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a permit is cancelled."""

    reason: Annotated[str, Meta(pattern=r"\S", max_length=200, examples=["obtained under a false purpose"])]


class Extension(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The doctor's certificate that sets the time of return."""

    facility: Annotated[str, Meta(pattern=r"\S", max_length=120, examples=["City hospital 1"])]
    number: Annotated[str, Meta(pattern=r"\S", max_length=40, examples=["A-1024"])]
    until: Annotated[str, Meta(max_length=35, examples=["2026-12-01T20:00:00Z"])]
    """Time with its zone, or a date in Baku: until its end."""


class ChangedPermits(msgspec.Struct, frozen=True):
    """What was changed: nearly always one permit."""

    permits: list[ChangedPermit]


class Officers:
    """The operations and what they need."""

    def __init__(
        self,
        *,
        wires: Wires,
        partitions: Sequence[PartitionKeys],
        naming: Naming,
        employment: Employment,
        keyring: Keyring,
        epochs: Sequence[Epoch],
        script: Script,
        now_ms: Callable[[], int],
    ) -> None:
        self._wires = wires
        self._partitions = partitions
        self._naming = naming
        self._amending = Amending(wires, employment=employment, keyring=keyring, epochs=epochs, script=script)
        self._now_ms = now_ms

    def operations(self) -> list[Operation]:
        """What this module adds to the api."""
        return [
            Operation(
                method="POST",
                path="/v1/permits/{code}/cancel",
                name="cancel_permit",
                summary="Cancel a permit, and tell its holder",
                tag="officers",
                handler=self.cancel,
                scope="permits.cancel",
                body=Cancellation,
                answers={200: ChangedPermits},
                problems=(404, 409, 503),
            ),
            Operation(
                method="POST",
                path="/v1/permits/{code}/extend",
                name="extend_permit",
                summary="Extend a permit by a doctor's certificate, and tell its holder",
                tag="officers",
                handler=self.extend,
                scope="permits.extend",
                body=Extension,
                answers={200: ChangedPermits},
                problems=(404, 409, 422, 503),
            ),
        ]

    async def cancel(self, call: Call) -> Answer:
        """End every permit in force that the code names."""
        return await self._recorded(call, "cancel", self._cancelled(call))

    async def extend(self, call: Call) -> Answer:
        """Move the end of the newest permit in force that the code names."""
        return await self._recorded(call, "extend", self._extended(call))

    async def _cancelled(self, call: Call) -> Answer:
        done: list[ChangedPermit] = []
        for _ in range(MOST_TRIES):
            named, now_ms = await self._named(call), self._now_ms()
            asked = Amendment(deed="cancel", actor=_actor(call), now_ms=now_ms, reason=call.body.reason)
            left = [found for found in named.permits if self._amending.now(found, now_ms).status in LIVE]
            if not left and not done:
                done = [self._amending.shown(found) for found in named.permits if self._amending.stands(found, asked)]
                if not done:
                    raise _over()
                await self._record(call, "cancel: done before")
            if not left:
                return Answer(body=ChangedPermits(done))
            for found in left:
                changed = await self._amending.amended(named, found, asked)
                done += () if changed is None else (changed,)
        raise busy()

    async def _extended(self, call: Call) -> Answer:
        body: Extension = call.body
        for _ in range(MOST_TRIES):
            named, now_ms = await self._named(call), self._now_ms()
            asked = Amendment(
                deed="extend",
                actor=_actor(call),
                now_ms=now_ms,
                until_ms=_until_ms(body.until, now_ms),
                certificate=Certificate(body.facility, body.number),
            )
            active = [found for found in named.permits if self._amending.now(found, now_ms).status == "active"]
            if not active:
                raise _over()
            found = max(active, key=lambda found: found.permit.from_ms)
            if self._amending.stands(found, asked):
                await self._record(call, "extend: done before")
                return Answer(body=ChangedPermits([self._amending.shown(found)]))
            if isinstance(found, SmsPermit) and not (found.purpose and found.purpose.extendable):
                raise ProblemError(409, "Not extendable", "the rules extend no permit for this purpose")
            if asked.until_ms <= self._amending.now(found, now_ms).until_ms:
                raise ProblemError(422, "No extension", "until must be after the permit's present end")
            changed = await self._amending.amended(named, found, asked)
            if changed is not None:
                return Answer(body=ChangedPermits([changed]))
        raise busy()

    async def _named(self, call: Call) -> Named:
        named = await self._naming.find(call.path("code"))
        if named is None or not named.permits:
            raise not_here()
        return named

    async def _recorded(self, call: Call, deed: str, work: Coroutine[Any, Any, Answer]) -> Answer:
        """The answer of an act; where it is refused, with a record of its own: else the change has it."""
        try:
            return await work
        except ProblemError as error:
            await self._record(call, f"{deed}: {error.problem.title.lower()}")
            raise

    async def _record(self, call: Call, reason: str) -> None:
        """An officer's look at what a code names; what can be no code names nothing that was looked at."""
        code = call.path("code")
        address = codes.decode(code)
        if address is None:
            return
        partition, field, byte = address
        actor = _actor(call)
        act = AuditAct(
            at_ms=self._now_ms(),
            actor=actor.subject,
            deed="look_up",
            reason=reason,
            method=actor.method,
            trace=actor.trace,
            code=codes.encode(partition, field, bytes((byte,))),
            client=actor.client,
        )
        acts = self._partitions[partition % len(self._partitions)].acts
        await self._wires.write(("XADD", acts, "*", "m", ENCODER.encode(act)))


def _actor(call: Call) -> Actor:
    return Actor(call.caller.subject, call.caller.client, call.caller.method, trace=call.trace)


def _over() -> ProblemError:
    return ProblemError(409, "Not in force", "the permit has ended or was cancelled")


def _until_ms(text: str, now_ms: int) -> int:
    """The new end as written, in whole seconds, as day records have theirs."""
    until_ms = moment_ms(text, ends=True)
    if until_ms is None or not now_ms < until_ms <= now_ms + MOST_EXTENSION_DAYS * DAY_MS:
        raise ProblemError(
            422, "Not an end", f"until must be a date or time within the next {MOST_EXTENSION_DAYS} days"
        )
    return until_ms // 1000 * 1000
