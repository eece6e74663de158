"""Employees' permits in the store: found, created and changed, each change with all that follows from it.

The api, the workers and the dispatcher all change permits through this module; `permit_changes` prepares what it
sends. Reads `holder:{p}`; writes, in one atomic call each, the record, its act, and the entries of `applications:{p}`
and `outbox:{p}`.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec
from redis.exceptions import ResponseError

from lua import changes
from lua.calls import Command
from lua.changes import Change, ChangeReply, Done, Full, Stale
from lua.keys import PartitionKeys
from permits.employees import Act, Actor, Deed, Employee, EmployeePermit, Epoch, Request, Stored, with_act
from permits.partition import FIELD_BYTES, Route
from runtime.keyring import Keyring
from runtime.permit_changes import Asking, Created, PermitChanges, Place, Prepared, Versioned, records, versioned

Send = Callable[[Sequence[Command]], Awaitable[list[Any]]]
"""Sends commands in one write; raw replies in order, error replies in their place."""
MOST_TRIES: Final = 8
"""Of one change: each try sees another's that came between."""
_EMPLOYEE: Final = msgspec.json.Decoder(Employee)


class Employment:
    """The permits of all organisations."""

    def __init__(
        self,
        send: Send,
        *,
        route: Route,
        partitions: Sequence[PartitionKeys],
        keyring: Keyring,
        epochs: Sequence[Epoch],
    ) -> None:
        self._send = send
        self._route = route
        self._partitions = partitions
        self._keyring = keyring
        self._epochs = epochs
        """Grows as epochs are proclaimed."""
        self._changes = PermitChanges(route=route, partitions=partitions, keyring=keyring, epochs=epochs)

    def place(self, code: str) -> Place | None:
        """Where a permit of this code would stand; None where it can be no code of this store."""
        return self._changes.place(code)

    async def load(self, permit_codes: Sequence[str]) -> list[Versioned | None]:
        """The permits of some codes, in order, from one round trip; None where there is none."""
        places = [self.place(code) for code in permit_codes]
        replies = await self._sent([["HGET", place.hash, place.field] for place in places if place is not None])
        found = iter(replies)
        return [None if place is None else versioned(next(found)) for place in places]

    def employee(self, permit: EmployeePermit) -> Employee:
        """Who a permit is for; UnsealedError where the key is missing."""
        return _EMPLOYEE.decode(self._keyring.open(permit.employee, permit.owner))

    async def create(
        self,
        tin: str,
        employer: str,
        requests: Sequence[Request],
        *,
        actor: Actor,
        now_ms: int,
        seen: int | None = None,
    ) -> list[Created]:
        """Permits for some employees: each created once, also where a request is repeated or stands twice.

        `seen` is the last epoch before the requests were made: later ones hold for their permits; None: all were.
        """
        results: list[Created | None] = [None] * len(requests)
        for _ in range(MOST_TRIES):
            open_ = [at for at, result in enumerate(results) if result is None]
            if not open_:
                break
            looks: list[Command] = [["HGETALL", self._held(requests[at])] for at in open_]
            found = await self._sent(looks)
            asking = Asking(tin, employer, actor, now_ms, len(self._epochs) if seen is None else seen)
            prepared: list[tuple[int, Prepared]] = []
            for at, flat in zip(open_, found, strict=True):
                judged = self._changes.judged(asking, requests[at], records(flat))
                if isinstance(judged, Created):
                    results[at] = judged
                else:
                    prepared.append((at, judged))
            replies = await self._sent([one.command for _, one in prepared])
            for (at, one), raw in zip(prepared, replies, strict=True):
                reply = changes.change_reply(raw)
                if isinstance(reply, Done):
                    results[at] = one.created
                elif isinstance(reply, Full):
                    results[at] = Created("full", None)
        return [result or Created("full", None) for result in results]

    async def amend(
        self,
        standing: Versioned,
        *,
        deed: Deed,
        actor: Actor,
        now_ms: int,
        status: Stored | None = None,
        reason: str | None = None,
        reply: bytes = b"",
        settles: Change | None = None,
        **fields: Any,
    ) -> Versioned | None:
        """A permit changed, with `fields` of the record replaced; None where another change came first.

        A change of a confirmed permit goes to the Ministry, and a submitted one to the registry. `settles` gives the
        entry that the change settles (`done` and `ack`, or `applied`), and its dead letter.
        """
        act = Act(
            at_ms=now_ms,
            actor=actor.subject,
            deed=deed,
            status=status or standing.permit.status,
            reason=reason or "",
            method=actor.method,
            under=actor.under,
            trace=actor.trace,
        )
        permit = msgspec.structs.replace(
            standing.permit,
            **fields,
            status=status or standing.permit.status,
            reason=reason,
            acts=with_act(standing.permit.acts, act),
        )
        new = Versioned(standing.version + 1, permit)
        change = msgspec.structs.replace(self._changes.change(new, standing, act, actor), reply=reply)
        if settles is not None:
            change = msgspec.structs.replace(
                change, done=settles.done, ack=settles.ack, applied=settles.applied, dead=settles.dead
            )
        keys = self._changes.standing_place(permit.code).keys
        (raw,) = await self._sent([changes.change_command(keys, change)])
        answer: ChangeReply = changes.change_reply(raw)
        # Our own record standing there means that an earlier try, whose answer was lost, was carried out.
        done = isinstance(answer, Done) or (isinstance(answer, Stale) and answer.record == change.record)
        return new if done else None

    def _held(self, request: Request) -> str:
        """The hash in which the permits of an employee stand."""
        partition, owner = self._route.of_document(request.employee.document)
        return self._partitions[partition].holder(owner[:FIELD_BYTES])

    async def _sent(self, commands: Sequence[Command]) -> list[Any]:
        replies = await self._send(commands) if commands else []
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise reply
        return replies
