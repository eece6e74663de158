"""Employees' permits in the store: found, created and changed, each change with all that follows from it.

The api, the workers and the dispatcher all change permits through this module. Reads `held:{p}`; writes, in one
atomic call each, the record, its act, and the entries of `applications:{p}` and `outbox:{p}`.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Literal

import msgspec
from redis.exceptions import ResponseError

from lua import changes
from lua.calls import Command
from lua.changes import Change, ChangeReply, Done, Full, Stale
from lua.keys import PartitionKeys
from permits import codes
from permits.employees import (
    RETENTION_MS,
    Act,
    Actor,
    AuditAct,
    Deed,
    Effective,
    Employee,
    EmployeePermit,
    Epoch,
    Request,
    Stored,
    effective,
    with_act,
)
from permits.messages import ENCODER, Application, OutboxEvent
from permits.partition import FIELD_BYTES, Route
from runtime.keyring import Keyring

Send = Callable[[Sequence[Command]], Awaitable[list[Any]]]
"""Sends commands in one write; raw replies in order, error replies in their place."""
Result = Literal["created", "unchanged", "reactivated", "conflict", "full"]
MOST_OURS: Final = 8
"""Records of one employee with one organisation: with as many, the oldest makes room."""
MOST_TRIES: Final = 8
"""Of one change: each try sees another's that came between."""
LIVE: Final = frozenset(("draft", "submitted", "confirmed", "transmitted", "active"))
_PERMIT: Final = msgspec.json.Decoder(EmployeePermit)
_EMPLOYEE: Final = msgspec.json.Decoder(Employee)


class Versioned(msgspec.Struct, frozen=True):
    """A permit as it stands in the store."""

    version: int
    permit: EmployeePermit


class Created(msgspec.Struct, frozen=True):
    """What became of one request."""

    result: Result
    standing: Versioned | None
    """The permit; with `conflict` the one that is in the way, None with `full`."""


class Place(msgspec.Struct, frozen=True):
    """Where a permit's record stands."""

    partition: int
    keys: PartitionKeys
    hash: str
    member: str
    field: str


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

    def place(self, code: str) -> Place | None:
        """Where a permit of this code would stand; None where it can be no code of this store."""
        address = codes.decode(code)
        if address is None or address[0] >= len(self._partitions):
            return None
        partition, field, byte = address
        return self._place(partition, field, byte)

    async def load(self, permit_codes: Sequence[str]) -> list[Versioned | None]:
        """The permits of some codes, in order, from one round trip; None where there is none."""
        places = [self.place(code) for code in permit_codes]
        replies = await self._sent([["HGET", place.hash, place.field] for place in places if place is not None])
        found = iter(replies)
        return [None if place is None else _versioned(next(found)) for place in places]

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
            owners = [self._route.of_document(requests[at].employee.document) for at in open_]
            looks: list[Command] = [
                ["HGETALL", self._partitions[partition].held(owner[:FIELD_BYTES])] for partition, owner in owners
            ]
            changes_: list[tuple[int, Result, Versioned, Command]] = []
            for at, (partition, owner), flat in zip(open_, owners, await self._sent(looks), strict=True):
                stands = _records(flat)
                judged = self._judged(tin, employer, requests[at], partition, owner, stands, actor, now_ms, seen)
                if isinstance(judged, Created):
                    results[at] = judged
                else:
                    changes_.append((at, *judged))
            replies = await self._sent([command for _, _, _, command in changes_])
            for (at, result, standing, _), raw in zip(changes_, replies, strict=True):
                reply = changes.change_reply(raw)
                if isinstance(reply, Done):
                    results[at] = Created(result, standing)
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
        place = self._standing_place(standing.permit.code)
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
        change = self._change(place, new, standing, act, actor)
        if settles is not None:
            change = msgspec.structs.replace(
                change, done=settles.done, ack=settles.ack, applied=settles.applied, dead=settles.dead
            )
        (raw,) = await self._sent([changes.change_command(place.keys, msgspec.structs.replace(change, reply=reply))])
        answer: ChangeReply = changes.change_reply(raw)
        # Our own record standing there means that an earlier try, whose answer was lost, was carried out.
        done = isinstance(answer, Done) or (isinstance(answer, Stale) and answer.record == change.record)
        return new if done else None

    def _judged(
        self,
        tin: str,
        employer: str,
        request: Request,
        partition: int,
        owner: bytes,
        stands: dict[str, Versioned],
        actor: Actor,
        now_ms: int,
        seen: int | None,
    ) -> Created | tuple[Result, Versioned, Command]:
        """What a request comes to, given the records that stand: done already, or the change that does it."""
        seen = len(self._epochs) if seen is None else seen

        def prepared(result: Result, old: Versioned | None, code: str) -> tuple[Result, Versioned, Command]:
            return self._prepared(result, old, code, tin, employer, request, owner, actor, now_ms, seen)

        ours = [
            (old, self._now(old.permit, seen, now_ms))
            for old in stands.values()
            if old.permit.tin == tin and old.permit.owner == owner.hex()
        ]
        for old, _ in ours:
            if request.digest and old.permit.request == request.digest:
                return Created("created", old)
        for old, now in ours:
            if now.status in LIVE:
                return Created("unchanged" if _alike(old.permit, now.until_ms, request) else "conflict", old)
        for old, now in ours:
            if _forbidden(old.permit) and now.until_ms > now_ms:
                return Created("conflict", old)
        for old, now in ours:
            if now.status == "cancelled" and old.permit.status != "cancelled":
                return prepared("reactivated", old, old.permit.code)
        if len(ours) >= MOST_OURS:  # none is live, and the history of the oldest goes on
            oldest = min((old for old, _ in ours), key=lambda old: old.permit.acts[-1].at_ms)
            return prepared("created", oldest, oldest.permit.code)
        byte = hashlib.blake2b(tin.encode() + owner, digest_size=1).digest()[0]
        for step in range(256):
            place = self._place(partition, owner[:FIELD_BYTES], (byte + step) % 256)
            if place.field not in stands:
                code = codes.encode(partition, owner, bytes(((byte + step) % 256,)))
                return prepared("created", None, code)
        return Created("full", None)

    def _now(self, permit: EmployeePermit, seen: int, now_ms: int) -> Effective:
        """What a permit amounts to for who has seen some epochs; what a later one extended has not ended, though."""
        now = effective(permit, self._epochs[:seen], now_ms)
        return effective(permit, self._epochs, now_ms) if now.status == "expired" else now

    def _prepared(
        self,
        result: Result,
        old: Versioned | None,
        code: str,
        tin: str,
        employer: str,
        request: Request,
        owner: bytes,
        actor: Actor,
        now_ms: int,
        seen: int,
    ) -> tuple[Result, Versioned, Command]:
        """The change that makes, or makes anew, a permit."""
        place = self._standing_place(code)
        status: Stored = "draft" if request.draft else "submitted"
        act = Act(
            at_ms=now_ms,
            actor=actor.subject,
            deed="create" if result == "created" else "reactivate",
            status=status,
            method=actor.method,
            under=actor.under,
            trace=actor.trace,
        )
        person_partition, person = self._route.of_person(request.employee.fin)
        permit = EmployeePermit(
            code=code,
            owner=owner.hex(),
            person=person.hex(),
            person_partition=person_partition,
            tin=tin,
            employer=employer,
            status=status,
            from_ms=request.from_ms,
            until_ms=request.until_ms,
            epoch=seen,
            employee=self._keyring.seal(ENCODER.encode(request.employee), owner.hex()),
            zone=request.zone,
            activity=request.activity,
            request=request.digest,
            acts=with_act(() if old is None else old.permit.acts, act),
        )
        new = Versioned(1 if old is None else old.version + 1, permit)
        return result, new, changes.create_command(place.keys, self._change(place, new, old, act, actor))

    def _change(self, place: Place, new: Versioned, old: Versioned | None, act: Act, actor: Actor) -> Change:
        """A record and what follows from its change."""
        permit = new.permit
        event = OutboxEvent(
            deed=act.deed,
            code=permit.code,
            version=new.version,
            at_ms=act.at_ms,
            tin=permit.tin,
            employer=permit.employer,
            status=permit.status,
            owner=permit.owner,
            person=permit.person,
            person_partition=permit.person_partition,
            from_ms=permit.from_ms,
            until_ms=permit.until_ms,
            epoch=permit.epoch,
            zone=permit.zone,
            activity=permit.activity,
            reason=permit.reason,
            employee=permit.employee,
            trace=act.trace,
        )
        was_granted = old is not None and old.permit.status in ("confirmed", "transmitted")
        granted = permit.status == "confirmed" or (was_granted and permit.status not in ("draft", "submitted"))
        fed = granted and act.deed not in ("transmit", "refuse")  # what the Ministry itself did
        submitted = permit.status == "submitted" and (old is None or old.permit.status != "submitted")
        audit = AuditAct(
            **msgspec.structs.asdict(act), code=permit.code, owner=permit.owner, tin=permit.tin, client=actor.client
        )
        return Change(
            hash=place.hash,
            field=place.field,
            expected=0 if old is None else old.version,
            record=changes.written(new.version, ENCODER.encode(permit)),
            most=changes.MOST_HELD,
            member=place.member,
            ends_s=(permit.until_ms + RETENTION_MS) // 1000,
            act=ENCODER.encode(audit),
            event=ENCODER.encode(event) if not fed and act.deed in ("create", "reactivate") else b"",
            feed=ENCODER.encode(event) if fed else b"",
            application=ENCODER.encode(Application(permit.code, new.version, act.trace)) if submitted else b"",
        )

    def _place(self, partition: int, field: bytes, byte: int) -> Place:
        keys = self._partitions[partition]
        return Place(partition, keys, keys.held(field), field.hex(), f"o{byte:02x}")

    def _standing_place(self, code: str) -> Place:
        place = self.place(code)
        if place is None:
            raise ValueError("the code of a permit that stands has no place")
        return place

    async def _sent(self, commands: Sequence[Command]) -> list[Any]:
        replies = await self._send(commands) if commands else []
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise reply
        return replies


def _forbidden(permit: EmployeePermit) -> bool:
    """Whether an officer has cancelled a permit: its organisation cannot undo that by asking for another."""
    return permit.status == "cancelled" and permit.acts[-1].deed == "cancel"


def _alike(permit: EmployeePermit, until_ms: int, request: Request) -> bool:
    """Whether a permit in force is what a request asks for; a draft is not, for who wants it submitted."""
    if permit.status == "draft" and not request.draft:
        return False
    return (permit.from_ms, until_ms, permit.zone, permit.activity) == (
        request.from_ms,
        request.until_ms,
        request.zone,
        request.activity,
    )


def _records(flat: Sequence[bytes]) -> dict[str, Versioned]:
    """The employees' permits among the records of a `held` hash, by field."""
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return {field.decode(): found for field, raw in pairs if field[:1] == b"o" and (found := _versioned(raw))}


def _versioned(raw: bytes | None) -> Versioned | None:
    if raw is None:
        return None
    version, body = changes.read(raw)
    return Versioned(version, _PERMIT.decode(body))
