"""What a request for an employee's permit comes to, given the records that stand, and the change that makes it so.

Judges and prepares; `employment` reads the records and sends the changes.
"""

import hashlib
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from lua import changes
from lua.calls import Command
from lua.changes import Change
from lua.keys import PartitionKeys
from permits import codes
from permits.employees import (
    RETENTION_MS,
    Act,
    Actor,
    AuditAct,
    Effective,
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

Result = Literal["created", "unchanged", "reactivated", "conflict", "full"]
MOST_OURS: Final = 8
"""Records of one employee with one organisation: with as many, the oldest makes room."""
LIVE: Final = frozenset(("draft", "submitted", "confirmed", "transmitted", "active"))
_PERMIT: Final = msgspec.json.Decoder(EmployeePermit)


class Versioned(msgspec.Struct, frozen=True):
    """A permit as it stands in the store."""

    version: int
    permit: EmployeePermit


class Created(msgspec.Struct, frozen=True):
    """What became of one request."""

    result: Result
    standing: Versioned | None
    """The permit; with `conflict` the one that is in the way, None with `full`."""


class Prepared(msgspec.Struct, frozen=True):
    """What will become of one request when its change is made."""

    created: Created
    command: Command


class Asking(msgspec.Struct, frozen=True):
    """Who asks for permits, in whose name, and when."""

    tin: str
    employer: str
    actor: Actor
    now_ms: int
    seen: int
    """Number of the last epoch before the requests were made: later ones hold for their permits."""


class Place(msgspec.Struct, frozen=True):
    """Where a permit's record stands."""

    partition: int
    keys: PartitionKeys
    hash: str
    member: str
    field: str


class PermitChanges:
    """Changes of the permits of all organisations."""

    def __init__(
        self, *, route: Route, partitions: Sequence[PartitionKeys], keyring: Keyring, epochs: Sequence[Epoch]
    ) -> None:
        self._route = route
        self._partitions = partitions
        self._keyring = keyring
        self._epochs = epochs

    def place(self, code: str) -> Place | None:
        """Where a permit of this code would stand; None where it can be no code of this store."""
        address = codes.decode(code)
        if address is None or address[0] >= len(self._partitions):
            return None
        return self._place(*address)

    def standing_place(self, code: str) -> Place:
        """Where a permit stands."""
        place = self.place(code)
        if place is None:
            raise ValueError("the code of a permit that stands has no place")
        return place

    def judged(self, asking: Asking, request: Request, stands: dict[str, Versioned]) -> Created | Prepared:
        """What a request comes to: done already, or the change that does it. `stands`: the records by field."""
        partition, owner = self._route.of_document(request.employee.document)
        ours = [
            (old, self._now(old.permit, asking))
            for old in stands.values()
            if old.permit.tin == asking.tin and old.permit.owner == owner.hex()
        ]
        for old, _ in ours:
            if request.digest and old.permit.request == request.digest:
                return Created("created", old)
        for old, now in ours:
            if now.status in LIVE:
                return Created("unchanged" if _alike(old.permit, now.until_ms, request) else "conflict", old)
        for old, now in ours:
            if _forbidden(old.permit) and now.until_ms > asking.now_ms:
                return Created("conflict", old)
        for old, now in ours:
            if now.status == "cancelled" and old.permit.status != "cancelled":
                return self._prepared("reactivated", old, old.permit.code, asking, request, owner)
        if len(ours) >= MOST_OURS:  # none is live, and the history of the oldest goes on
            oldest = min((old for old, _ in ours), key=lambda old: old.permit.acts[-1].at_ms)
            return self._prepared("created", oldest, oldest.permit.code, asking, request, owner)
        byte = hashlib.blake2b(asking.tin.encode() + owner, digest_size=1).digest()[0]
        for step in range(256):
            place = self._place(partition, owner[:FIELD_BYTES], (byte + step) % 256)
            if place.field not in stands:
                code = codes.encode(partition, owner, bytes(((byte + step) % 256,)))
                return self._prepared("created", None, code, asking, request, owner)
        return Created("full", None)

    def change(self, new: Versioned, old: Versioned | None, act: Act, actor: Actor) -> Change:
        """A record and what follows from its change."""
        permit = new.permit
        place = self.standing_place(permit.code)
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

    def _now(self, permit: EmployeePermit, asking: Asking) -> Effective:
        """What a permit amounts to for who has seen some epochs; what a later one extended has not ended, though."""
        now = effective(permit, self._epochs[: asking.seen], asking.now_ms)
        return effective(permit, self._epochs, asking.now_ms) if now.status == "expired" else now

    def _prepared(
        self,
        result: Literal["created", "reactivated"],
        old: Versioned | None,
        code: str,
        asking: Asking,
        request: Request,
        owner: bytes,
    ) -> Prepared:
        """The change that makes, or makes anew, a permit."""
        actor = asking.actor
        status: Stored = "draft" if request.draft else "submitted"
        act = Act(
            at_ms=asking.now_ms,
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
            tin=asking.tin,
            employer=asking.employer,
            status=status,
            from_ms=request.from_ms,
            until_ms=request.until_ms,
            epoch=asking.seen,
            employee=self._keyring.seal(ENCODER.encode(request.employee), owner.hex()),
            zone=request.zone,
            activity=request.activity,
            request=request.digest,
            acts=with_act(() if old is None else old.permit.acts, act),
        )
        new = Versioned(1 if old is None else old.version + 1, permit)
        command = changes.create_command(self.standing_place(code).keys, self.change(new, old, act, actor))
        return Prepared(Created(result, new), command)

    def _place(self, partition: int, field: bytes, byte: int) -> Place:
        keys = self._partitions[partition]
        return Place(partition, keys, keys.holder(field), field.hex(), f"o{byte:02x}")


def records(flat: Sequence[bytes]) -> dict[str, Versioned]:
    """The employees' permits among the records of a `holder` hash, by field."""
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return {field.decode(): found for field, raw in pairs if field[:1] == b"o" and (found := versioned(raw))}


def versioned(raw: bytes | None) -> Versioned | None:
    """A record as it stands, read; None where there is none."""
    if raw is None:
        return None
    version, body = changes.read(raw)
    return Versioned(version, _PERMIT.decode(body))


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
