"""`POST /v1/checks`: the police ask whether a document, or the code on a phone, is a valid permit here and now.

Reads by `holders`, within the limits of `guessing`. Writes each check to `acts:{p}` before its answer goes out: no
record, no answer. The document stands in the body only.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from api.contract import Answer, Call, Operation
from api.guessing import Guessing
from api.holders import Holders
from api.standing import Permit, Standing
from api.wires import Wires
from lua.keys import PartitionKeys
from permits import codes
from permits.calendar import rfc3339
from permits.documents import canonical
from permits.employees import AuditAct
from permits.messages import ENCODER
from permits.policy import Policy
from runtime.problems import ProblemError

SCOPE: Final = "checks"
MOST_ZONE: Final = 80
MOST_ASKERS: Final = 4096
"""Officers whose names are kept, as many as there are tokens remembered."""
Reason = Literal["no_permit", "expired", "cancelled", "not_yet", "refused", "zone", "not_transmitted", "regime_off"]
_ONE_I: Final = str.maketrans("İIı", "iii")
"""Upper and lower case of i differ between Azerbaijani and English; here all are one letter."""


class CheckQuestion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was presented: a document, or a permit's code."""

    document: Annotated[
        str | None, Meta(description="series and number, in any script or spacing", examples=["AZE1111111"])
    ] = None
    permit: Annotated[str | None, Meta(description="a code, in any case and spacing", examples=["23456789AB"])] = None
    zone: Annotated[
        Annotated[str, Meta(min_length=1, max_length=MOST_ZONE)] | None,
        Meta(description="where the check is, as zones are named; without it zones are not looked at"),
    ] = None


class CheckAnswer(msgspec.Struct, frozen=True):
    """Valid or not, at this moment. Times are RFC 3339 in UTC."""

    valid: bool
    reason: Reason | None
    """Why not; of a valid answer `regime_off`: nobody needs a permit here and now."""
    since: str | None
    """When the valid permit was obtained: one obtained at the checkpoint shows."""
    permits: list[Permit]
    checked_at: str


class ChecksDoor:
    """The operation and what it needs."""

    def __init__(
        self,
        holders: Holders,
        guessing: Guessing,
        *,
        wires: Wires,
        partitions: Sequence[PartitionKeys],
        policy: Callable[[], Policy],
        now_ms: Callable[[], int],
    ) -> None:
        self._policy = policy
        self._holders = holders
        self._guessing = guessing
        self._wires = wires
        self._partitions = partitions
        self._now_ms = now_ms
        self._asker_of = lru_cache(MOST_ASKERS)(self._asker)  # an officer asks many times

    def operations(self) -> list[Operation]:
        """What this module adds to the api."""
        return [
            Operation(
                method="POST",
                path="/v1/checks",
                name="check_permit",
                summary="Whether a document or a code is a valid permit now, and why not",
                tag="police",
                handler=self.check,
                scope=SCOPE,
                body=CheckQuestion,
                answers={200: CheckAnswer},
                problems=(422, 429),
            )
        ]

    async def check(self, call: Call) -> Answer:
        """One check, recorded, and its answer."""
        question: CheckQuestion = call.body
        asker = self._asker_of(call.caller.client, call.caller.subject)
        self._guessing.admit(asker, None)
        partition, asked, code, looked = self._looked(question)
        found = await looked
        self._guessing.tell(asker, None, asked, found=bool(found))
        now_ms = self._now_ms()
        reason, since_ms = judged(found, question.zone)
        valid = reason is None
        if not valid and is_free(self._policy(), question.zone, now_ms):
            valid, reason = True, "regime_off"
        act = AuditAct(
            at_ms=now_ms,
            actor=call.caller.subject,
            deed="check",
            reason=reason or "",
            method=call.caller.method,
            trace=call.trace,
            code=code,
            owner=found[0].owner.hex() if found else "" if code else asked.hex(),
            client=call.caller.client,
            zone=question.zone or "",
            valid=valid,
        )
        await self._wires.write(("XADD", self._partitions[partition].acts, "*", "m", ENCODER.encode(act)))
        since = None if since_ms is None else rfc3339(since_ms)
        return Answer(CheckAnswer(valid, reason, since, [known.permit for known in found], rfc3339(now_ms)))

    def _looked(self, question: CheckQuestion) -> tuple[int, bytes, str, Awaitable[list[Standing]]]:
        """Partition of the record, what was asked as bytes, the code where it was one, and what will be found."""
        if question.document is not None and question.permit is None:
            document = canonical(question.document)
            if document is None:
                raise ProblemError(422, "Not a document number", "series and number are needed, as in AZE1234567")
            owner = self._holders.route.of_document(document)
            return *owner, "", self._holders.of_document(owner)
        if question.permit is not None and question.document is None:
            address = codes.decode(question.permit)
            if address is None:
                raise ProblemError(422, "Not a permit code", "ten letters and digits are needed, as in 23456789AB")
            partition, field, byte = address
            code = codes.encode(partition, field, bytes((byte,)))
            return partition % len(self._partitions), code.encode(), code, self._holders.of_code(address)
        raise ProblemError(422, "Not one question", "send either document or permit")

    def _asker(self, client: str, subject: str) -> str:
        """Whose unknown documents are counted: each officer's own, under a name that tells nobody who it is."""
        return f"{client}/{self._holders.route.of_request(subject.encode())}"


def judged(found: Sequence[Standing], zone: str | None) -> tuple[Reason | None, int | None]:
    """Why nothing of what stands is valid, or None and the moment since when something is."""
    if not found:
        return "no_permit", None
    statuses = [known.permit.status for known in found]
    if "active" in statuses:
        active = [known for known in found if known.permit.status == "active"]
        valid = [known.at_ms for known in active if zone is None or not known.zones or _fits(zone, known.zones)]
        return (None, min(valid)) if valid else ("zone", None)
    if "transmitted" in statuses:
        return "not_yet", None
    if "submitted" in statuses or "confirmed" in statuses:
        return "not_transmitted", None
    for status in statuses:  # what ended last
        if status in ("cancelled", "expired"):
            return status, None
    return "refused", None


def is_free(policy: Policy, zone: str | None, now_ms: int) -> bool:
    """Whether nobody needs a permit at a moment, or in a zone where the regime does not hold."""
    regime = policy.at(now_ms)
    if regime.is_off(now_ms):
        return True
    names = [name for key in regime.zones for name in policy.zones[key].values()]
    return zone is not None and bool(names) and not _fits(zone, names)


def _fits(zone: str, zones: Sequence[str]) -> bool:
    return _folded(zone) in map(_folded, zones)


def _folded(text: str) -> str:
    return " ".join(text.translate(_ONE_I).casefold().split())
