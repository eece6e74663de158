"""Who may act for an organisation: the first step of every operation under its tax number.

Reads `organisations:{q}`, one record a request; writes it by compare-and-set, each change with its act on `acts:{q}`.
"""

from collections.abc import Callable, Sequence

import msgspec

from api.auth import Caller
from api.contract import Call
from api.wires import Wires
from lua import changes
from lua.changes import Change, Done
from lua.keys import PartitionKeys
from permits.employees import Act, Actor, AuditAct, Deed, with_act
from permits.messages import ENCODER
from permits.organisations import POWERS, Authority, Organisation, Power, authority
from permits.partition import Route
from runtime.problems import ProblemError

_ORGANISATION = msgspec.json.Decoder(Organisation)


class Acting(msgspec.Struct, frozen=True):
    """A caller with authority for an organisation."""

    organisation: Organisation
    version: int
    authority: Authority
    actor: Actor
    may_read: bool
    """Whether personal data may be shown to the caller."""


def not_here() -> ProblemError:
    """One answer for what does not exist and what is not the caller's: nobody can tell which."""
    return ProblemError(404, "Not Found")


def busy() -> ProblemError:
    """For a change that lost to others' time and again."""
    return ProblemError(503, "Busy", "others are changing the same; ask again", headers={"Retry-After": "1"})


class Organisations:
    """The records of all organisations."""

    def __init__(
        self, wires: Wires, *, partitions: Sequence[PartitionKeys], route: Route, now_ms: Callable[[], int]
    ) -> None:
        self._wires = wires
        self._partitions = partitions
        self._route = route
        self._now_ms = now_ms

    def keys(self, tin: str) -> PartitionKeys:
        """The keys of an organisation's partition."""
        return self._partitions[self._route.of_organisation(tin)]

    def person(self, fin: str) -> str:
        """A person as records name them: keyed hash of the canonical FIN, 16 hex digits."""
        return self._route.of_person(fin)[1].hex()

    def digests(self, call: Call) -> tuple[str, str]:
        """Keyed digests, 16 hex digits each, of the request's idempotency key (as this caller's) and of its body."""
        key = f"{call.path('tin')}\0{call.caller.subject}\0{call.idempotency_key}"
        return self._route.of_request(key.encode()), self._route.of_request(ENCODER.encode(call.body))

    async def load(self, tin: str) -> tuple[int, Organisation] | None:
        """Version and record of an organisation."""
        (record,) = await self._wires.read(("HGET", self.keys(tin).organisations, tin))
        if record is None:
            return None
        version, body = changes.read(record)
        return version, _ORGANISATION.decode(body)

    async def acting(self, call: Call, power: Power | None = None) -> Acting:
        """The caller's authority for the organisation of the path; without `power`, any will do.

        ProblemError 404 where there is none, as where there is no such organisation; 403 where it lacks this power.
        """
        found = await self.load(call.path("tin"))
        if found is None:
            raise not_here()
        version, organisation = found
        powers = self._powers(organisation, call.caller)
        if not powers:
            raise not_here()
        used = next(iter(powers.values())) if power is None else powers.get(power)
        if used is None:
            raise ProblemError(403, "Forbidden", f"your delegation does not carry the power {power}")
        return Acting(
            organisation=organisation,
            version=version,
            authority=used,
            actor=actor(call, used),
            may_read="read" in powers,
        )

    async def sealing(self, call: Call) -> Acting:
        """As `acting`, for the seal-authorised person alone."""
        acting = await self.acting(call)
        if acting.authority.under:
            raise ProblemError(403, "Forbidden", "only the seal-authorised person may do this")
        return acting

    async def change(
        self, organisation: Organisation, *, version: int, deed: Deed, actor: Actor, reason: str = ""
    ) -> bool:
        """Put the next version of a record in the place of `version` (0: none yet); False where another came first."""
        act = Act(
            at_ms=self._now_ms(),
            actor=actor.subject,
            deed=deed,
            reason=reason,
            method=actor.method,
            under=actor.under,
            trace=actor.trace,
        )
        tin = organisation.tin
        record = msgspec.structs.replace(organisation, acts=with_act(organisation.acts, act))
        change = Change(
            hash=self.keys(tin).organisations,
            field=tin,
            expected=version,
            record=changes.written(version + 1, ENCODER.encode(record)),
            act=ENCODER.encode(AuditAct(**msgspec.structs.asdict(act), tin=tin, client=actor.client)),
        )
        (raw,) = await self._wires.write(changes.change_command(self.keys(tin), change))
        return isinstance(changes.change_reply(raw), Done)

    def _powers(self, organisation: Organisation, caller: Caller) -> dict[Power, Authority]:
        """What the caller may do now, and by which authority; a token without a person may nothing."""
        if caller.fin is None:
            return {}
        person, now_ms = self.person(caller.fin), self._now_ms()
        powers: dict[Power, Authority] = {}
        for power in POWERS:
            used = authority(organisation, person=person, tin=caller.tin, power=power, now_ms=now_ms)
            if used is not None:
                powers[power] = used
        return powers


def actor(call: Call, used: Authority) -> Actor:
    """The caller as acts name them."""
    caller = call.caller
    return Actor(subject=caller.subject, client=caller.client, method=caller.method, under=used.under, trace=call.trace)
