"""`/v1/policies`: the versions of the rules. One officer proposes, another confirms; what has begun stays as it was.

Writes `policies:{p}` and `acts:{p}` of the first partition, in one step, at the store's own time.
"""

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from api.authority import busy
from api.contract import Answer, Call, Operation
from api.wires import Wires
from lua.keys import PartitionKeys
from lua.policies import AT_ANY_TIME, EnactReply, Late, enact_command, enact_reply
from permits import versions
from permits.calendar import rfc3339
from permits.employees import AuditAct, Deed
from permits.messages import ENCODER
from permits.partition import Route
from permits.policy import Policy, PolicyError
from permits.succession import first_change_ms, known_by_ms, undated_changes
from permits.versions import Confirmed, Founding, Item, Proposed, State, Version, Withdrawn
from runtime.policies import NOTICE_MS, Policies
from runtime.problems import ProblemError

SCOPE: Final = "policy"
PATH: Final = "/v1/policies"
ONE: Final = "/v1/policies/{version}"
MEDIA: Final = "application/toml"
MOST_BYTES: Final = 256 << 10
"""Of a policy: some three hundred regimes."""
MOST_PROPOSED: Final = 16
"""Proposals that wait; more are nobody's plan."""
MOST_TRIES: Final = 8


class PolicyText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole policy."""

    text: Annotated[str, Meta(description="TOML, as in a policy file")]


class PolicyShown(msgspec.Struct, frozen=True):
    """A version of the rules."""

    version: str
    state: State
    starts: str | None
    """When its regimes begin to differ from those of the version before it; null: they do not."""
    proposed_by: str
    proposed_at: str
    settled_by: str | None
    """Who has confirmed or withdrawn it."""
    settled_at: str | None


class PolicyList(msgspec.Struct, frozen=True):
    """All versions, newest first."""

    current: str
    """The one that holds; before the first, the policy file's."""
    policies: list[PolicyShown]


class PoliciesDoor:
    """The operations and what they need."""

    def __init__(
        self,
        policies: Policies,
        *,
        wires: Wires,
        partitions: Sequence[PartitionKeys],
        route: Route,
        founding: Founding,
    ) -> None:
        self._policies = policies
        self._wires = wires
        self._keys = partitions[0]
        self._route = route
        self._founding = founding

    def operations(self) -> list[Operation]:
        """What this module adds to the api."""
        return [
            Operation(
                method="GET",
                path=PATH,
                name="list_policies",
                summary="All versions of the rules",
                tag="policies",
                handler=self.show_all,
                scope=SCOPE,
                answers={200: PolicyList},
            ),
            Operation(
                method="POST",
                path=PATH,
                name="propose_policy",
                summary="Propose rules, to be confirmed by somebody else",
                tag="policies",
                handler=self.propose,
                scope=SCOPE,
                body=PolicyText,
                other_media=(MEDIA,),
                max_body_bytes=MOST_BYTES,
                answers={201: PolicyShown},
                problems=(409, 422),
                idempotency_key="required",
            ),
            Operation(
                method="GET",
                path=ONE,
                name="show_policy",
                summary="The text of a version",
                tag="policies",
                handler=self.show,
                scope=SCOPE,
                answers={200: str},
                answer_media=MEDIA,
            ),
            Operation(
                method="POST",
                path=f"{ONE}/confirm",
                name="confirm_policy",
                summary="Put into force what somebody else has proposed",
                tag="policies",
                handler=self.confirm,
                scope=SCOPE,
                answers={200: PolicyShown},
                problems=(409,),
            ),
            Operation(
                method="DELETE",
                path=ONE,
                name="withdraw_policy",
                summary="Withdraw a proposal",
                tag="policies",
                handler=self.withdraw,
                scope=SCOPE,
                answers={200: PolicyShown},
                problems=(409,),
            ),
        ]

    async def show_all(self, call: Call) -> Answer:
        """All versions, newest first."""
        await self._policies.refresh()
        known = reversed(self._policies.book.versions.values())
        return Answer(PolicyList(self._policies.latest().version, [_shown(version) for version in known]))

    async def show(self, call: Call) -> Answer:
        """What a version says."""
        return Answer((await self._found(call)).proposed.text.encode())

    async def propose(self, call: Call) -> Answer:
        """Append a proposal; a repeat of the request answers with the one that it made."""
        text = _text(call)
        request = self._route.of_request(f"policy\0{call.caller.subject}\0{call.idempotency_key}".encode())
        for _ in range(MOST_TRIES):
            await self._policies.refresh()
            book = self._policies.book
            made = next((known for known in book.versions.values() if known.proposed.request == request), None)
            if made is not None:
                if made.proposed.text != text:
                    raise ProblemError(422, "Idempotency key reused", "the same key came with another text before")
                return Answer(_shown(made), 201, location=f"{PATH}/{made.proposed.version}")
            if sum(known.settled is None for known in book.versions.values()) >= MOST_PROPOSED:
                raise ProblemError(409, "Too many proposals", "withdraw or confirm one first")
            try:
                policy = versions.proposal(book.items + 1, text)
            except PolicyError as error:
                raise ProblemError(422, "Not a policy", str(error)) from None
            starts_ms, last_ms = self._judged(policy, status=422)
            item = Proposed(0, policy.version, call.caller.subject, text, starts_ms, request)
            if isinstance(await self._enact(call, "propose", item, last_ms), Late):
                raise _late(422, starts_ms)
        raise busy()

    async def confirm(self, call: Call) -> Answer:
        """Append the word of a second officer, in time for what changes; a repeat finds it."""
        for _ in range(MOST_TRIES):
            found, subject = await self._found(call), call.caller.subject
            proposed = found.proposed
            if isinstance(found.settled, Confirmed) and found.settled.actor == subject:
                return Answer(_shown(found))
            _must_wait(found)
            if proposed.actor == subject:
                raise ProblemError(403, "Forbidden", "who has proposed it cannot confirm it")
            starts_ms, last_ms = self._judged(versions.read(proposed.version, proposed.text), status=409)
            founding = self._founding if self._policies.book.latest is None else None
            item = Confirmed(0, proposed.version, subject, starts_ms, founding)
            if isinstance(await self._enact(call, "confirm", item, last_ms), Late):
                raise _late(409, starts_ms)
        raise busy()

    async def withdraw(self, call: Call) -> Answer:
        """Append that a proposal is none any more; a repeat finds it."""
        for _ in range(MOST_TRIES):
            found = await self._found(call)
            if isinstance(found.settled, Withdrawn):
                return Answer(_shown(found))
            _must_wait(found)
            await self._enact(call, "withdraw", Withdrawn(0, found.proposed.version, call.caller.subject))
        raise busy()

    async def _found(self, call: Call) -> Version:
        """The version that the path names, as it stands."""
        await self._policies.refresh()
        found = self._policies.book.versions.get(call.path("version"))
        if found is None:
            raise ProblemError(404, "Not Found")
        return found

    def _judged(self, policy: Policy, *, status: int) -> tuple[int, int]:
        """First change, and the last moment to store it; ProblemError where it changes what has no date or no end."""
        before = self._policies.latest()
        flaws = undated_changes(before, policy)
        starts_ms = first_change_ms(before, policy)
        if starts_ms == 0:
            flaws.append("regimes: the first holds before its own start too, so it must stay as it is")
        is_same = starts_ms is None and policy.retention == before.retention
        if is_same and self._policies.book.latest is not None:
            flaws.append(f"nothing differs from {before.version}")
        if flaws:
            raise ProblemError(status, "Not a next version", "\n".join(flaws))
        known_ms = known_by_ms(before, policy)
        return starts_ms or 0, AT_ANY_TIME if known_ms is None else max(1, known_ms - NOTICE_MS)

    async def _enact(self, call: Call, deed: Deed, item: Item, last_ms: int = AT_ANY_TIME) -> EnactReply:
        """Append an item behind those we know, with its act."""
        caller = call.caller
        act = AuditAct(
            at_ms=0,
            actor=caller.subject,
            deed=deed,
            method=caller.method,
            trace=call.trace,
            client=caller.client,
            policy=item.version,
        )
        command = enact_command(
            self._keys,
            stood=self._policies.book.items,
            item=ENCODER.encode(item),
            act=ENCODER.encode(act),
            last_ms=last_ms,
        )
        (reply,) = await self._wires.write(command)
        return enact_reply(reply)


def _text(call: Call) -> str:
    """The policy of a request, whichever way it came."""
    if isinstance(call.body, PolicyText):
        return call.body.text
    if call.request.content_type != MEDIA:
        raise ProblemError(400, "Bad request", f"send a JSON object, or {MEDIA}")
    try:
        return bytes(call.body).decode()
    except UnicodeDecodeError:
        raise ProblemError(400, "Bad request", "the text is not UTF-8") from None


def _must_wait(found: Version) -> None:
    if found.settled is not None:
        raise ProblemError(409, f"Already {found.state}", f"by {found.settled.actor}")


def _late(status: int, starts_ms: int) -> ProblemError:
    return ProblemError(
        status,
        "Too late",
        f"the first change, at {rfc3339(starts_ms)}, must be confirmed {NOTICE_MS // 1000} s before it; "
        "one that honours permits for more days, as long before the day begins",
    )


def _shown(version: Version) -> PolicyShown:
    proposed, settled = version.proposed, version.settled
    starts_ms = settled.starts_ms if isinstance(settled, Confirmed) else proposed.starts_ms
    return PolicyShown(
        version=proposed.version,
        state=version.state,
        starts=rfc3339(starts_ms) if starts_ms else None,
        proposed_by=proposed.actor,
        proposed_at=rfc3339(proposed.at_ms),
        settled_by=None if settled is None else settled.actor,
        settled_at=None if settled is None else rfc3339(settled.at_ms),
    )
