"""`/v1/regime/epochs`: acts on all organisations' permits at once, whatever their number.

Writes one item of `epochs`; every permit shows it when it is read next.
"""

from collections.abc import Callable
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from api.authority import busy
from api.contract import Answer, Call, Operation
from api.wires import Wires
from lua import changes
from permits.applications import moment_ms
from permits.calendar import rfc3339
from permits.employees import DAY_MS, MOST_DAYS, Epoch
from permits.messages import ENCODER
from permits.partition import Route
from runtime.epochs import Epochs
from runtime.problems import ProblemError

SCOPE: Final = "regime"
PATH: Final = "/v1/regime/epochs"
MOST_TRIES: Final = 8


class Proclamation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to happen to all organisations' permits."""

    action: Literal["extend", "deactivate"]
    reason: Annotated[str, Meta(pattern=r"\S", max_length=200, examples=["Decree 218 of 5 July"])]
    until: Annotated[str, Meta(max_length=35, examples=["2026-12-31T20:00:00Z"])] | None = None
    """With `extend`, the new end: time with its zone, or a date in Baku, until its end."""


class EpochShown(msgspec.Struct, frozen=True):
    """An act on all organisations' permits."""

    number: int
    action: Literal["extend", "deactivate"]
    at: str
    until: str | None
    reason: str
    actor: str


class EpochList(msgspec.Struct, frozen=True):
    """All of them, newest first."""

    epochs: list[EpochShown]


class RegimeDoor:
    """The operations and what they need."""

    def __init__(self, *, wires: Wires, epochs: Epochs, route: Route, now_ms: Callable[[], int]) -> None:
        self._wires = wires
        self._epochs = epochs
        self._route = route
        self._now_ms = now_ms

    def operations(self) -> list[Operation]:
        """What this module adds to the api."""
        return [
            Operation(
                method="POST",
                path=PATH,
                name="proclaim_epoch",
                summary="Extend or deactivate all organisations' permits",
                tag="regime",
                handler=self.proclaim,
                scope=SCOPE,
                body=Proclamation,
                answers={201: EpochShown},
                problems=(422, 503),
                idempotency_key="required",
            ),
            Operation(
                method="GET",
                path=PATH,
                name="list_epochs",
                summary="All acts on organisations' permits so far",
                tag="regime",
                handler=self.show,
                scope=SCOPE,
                answers={200: EpochList},
            ),
        ]

    async def proclaim(self, call: Call) -> Answer:
        """Append an epoch; a repeat of the request answers with the one that it made."""
        body: Proclamation = call.body
        now_ms = self._now_ms()
        until_ms = _until_ms(body, now_ms)
        request = self._route.of_request(f"regime\0{call.caller.subject}\0{call.idempotency_key}".encode())
        for _ in range(MOST_TRIES):
            await self._epochs.refresh()
            epoch = Epoch(
                number=len(self._epochs.known) + 1,
                action=body.action,
                at_ms=now_ms,
                reason=body.reason,
                actor=call.caller.subject,
                request=request,
                until_ms=until_ms,
                trace=call.trace,
            )
            command = changes.proclaim_command(number=epoch.number, epoch=ENCODER.encode(epoch), request=request)
            number = changes.proclaim_reply(*await self._wires.write(command))
            if number is not None:
                await self._epochs.refresh()
                return Answer(body=_shown(self._stated(number, body, until_ms)), status=201, location=PATH)
        raise busy()

    async def show(self, call: Call) -> Answer:
        """All epochs, newest first."""
        await self._epochs.refresh()
        return Answer(body=EpochList([_shown(epoch) for epoch in reversed(self._epochs.known)]))

    def _stated(self, number: int, body: Proclamation, until_ms: int) -> Epoch:
        """The epoch of a number, where it says what this request does: a key serves one request."""
        epoch = self._epochs.known[number - 1]
        if (epoch.action, epoch.reason, epoch.until_ms) != (body.action, body.reason, until_ms):
            raise ProblemError(422, "Idempotency key reused", "the same key came with another request before")
        return epoch


def _until_ms(body: Proclamation, now_ms: int) -> int:
    if body.action == "deactivate":
        if body.until is not None:
            raise ProblemError(422, "No end to set", "until goes with extend")
        return 0
    until_ms = None if body.until is None else moment_ms(body.until, ends=True)
    if until_ms is None or not now_ms < until_ms <= now_ms + MOST_DAYS * DAY_MS:
        raise ProblemError(422, "Not an end", f"extend needs until, a date or time within the next {MOST_DAYS} days")
    return until_ms


def _shown(epoch: Epoch) -> EpochShown:
    return EpochShown(
        number=epoch.number,
        action=epoch.action,
        at=rfc3339(epoch.at_ms),
        until=rfc3339(epoch.until_ms) if epoch.until_ms else None,
        reason=epoch.reason,
        actor=epoch.actor,
    )
