"""`POST /v1/histories`: what happened to a document lately, for the member of staff whom its owner asks.

Reads the day records, by `holders` the permits, and `blocked:{p}`. Writes the look to `acts:{p}` before its answer goes
out: no record, no answer. Who asked is told as "phone 1", "phone 2": the records know no numbers.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec

from api.blocked import Document, ListingShown, places
from api.contract import Answer, Call, Operation
from api.guessing import Guessing
from api.holders import Holders
from api.staff import act_of, asker_of, owner_of
from api.standing import Permit
from api.wires import Wires
from lua.keys import PartitionKeys
from lua.records import RecordEntry, entries
from permits import codes
from permits.calendar import DAY_MS, day_name, local_day, rfc3339
from permits.decision import REFUSALS_WINDOW_S
from permits.messages import ENCODER
from permits.outcomes import REASON_OF, REFUSALS, Reason
from permits.partition import FIELD_BYTES, Route
from permits.policy import Limits, Policy

SCOPE: Final = "histories"
_ABUSE: Final = REFUSALS["abuse_document"]
"""By which no phone becomes known."""


class HistoryQuestion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose history."""

    document: Document


class DecisionShown(msgspec.Struct, frozen=True):
    """One SMS about the document and what became of it. Times are RFC 3339 in UTC."""

    arrived_at: str
    decided_at: str
    day: str
    """Baku day whose limits it counts for."""
    phone: int
    """1 is the first phone in this history that asked; two phones may rarely be told as one."""
    purpose: int | None
    verdict: Literal["approved", "refused", "cancelled"]
    """`cancelled`: by this SMS a permit was."""
    reason: Reason | None
    permit: str | None
    """Code of the permit, whatever became of it since."""
    held_until: str | None
    """When an approval that is held back will be told."""


class Used(msgspec.Struct, frozen=True):
    """How much of a limit is used; with as much as the limit, the next SMS meets it."""

    used: int
    limit: int | None


class HistoryAnswer(msgspec.Struct, frozen=True):
    """What is on the record of the last days."""

    asked_at: str
    requests_today: Used
    phones_today: Used
    refusals_within_the_hour: Used
    """To the phone that got most; past the limit its further refusals get no reply."""
    lists: list[ListingShown]
    """Status lists on which the document stands, or will."""
    permits: list[Permit]
    """In force now, newest first."""
    decisions: list[DecisionShown]
    """Newest first."""


class HistoriesDoor:
    """The operation and what it needs."""

    def __init__(
        self,
        holders: Holders,
        guessing: Guessing,
        *,
        wires: Wires,
        partitions: Sequence[PartitionKeys],
        route: Route,
        policy: Callable[[], Policy],
        now_ms: Callable[[], int],
    ) -> None:
        self._holders = holders
        self._guessing = guessing
        self._wires = wires
        self._partitions = partitions
        self._route = route
        self._policy = policy
        self._now_ms = now_ms

    def operations(self) -> list[Operation]:
        """What this module adds to the api."""
        return [
            Operation(
                method="POST",
                path="/v1/histories",
                name="show_history",
                summary="What happened to a document lately, and how much of its limits is used",
                tag="staff",
                handler=self.show,
                scope=SCOPE,
                body=HistoryQuestion,
                answers={200: HistoryAnswer},
                problems=(422, 429, 503),
            )
        ]

    async def show(self, call: Call) -> Answer:
        """One history, and the act of having looked."""
        asker = asker_of(call.caller, self._route)
        self._guessing.admit(asker, None)
        owner = partition, key = owner_of(self._route, call.body.document)
        keys, policy, now_ms = self._partitions[partition], self._policy(), self._now_ms()
        today = local_day(now_ms)
        days = range(today - policy.keep_days, today + 2)  # to tomorrow, which a worker's clock may have reached
        stood, *records = await self._wires.read(
            ("HGET", keys.blocked, key), *(("HGET", keys.day(day_name(day)), key[:FIELD_BYTES]) for day in days)
        )
        lists = places(stood, policy, now_ms)
        permits = [known.permit for known in await self._holders.of_document(owner)]
        decided = [
            (day - entry.days_to_arrival, entry)
            for day, record in zip(days, records, strict=True)
            for entry in entries(record or b"", key[FIELD_BYTES:])
        ]
        self._guessing.tell(asker, None, key, found=bool(decided or permits or lists))
        act = act_of(call, "look_up", key, now_ms, reason="history")
        await self._wires.write(("XADD", keys.acts, "*", "m", ENCODER.encode(act)))
        requests, phones, refusals = used(decided, policy.at(now_ms).limits, now_ms)
        return Answer(
            body=HistoryAnswer(
                asked_at=rfc3339(now_ms),
                requests_today=requests,
                phones_today=phones,
                refusals_within_the_hour=refusals,
                lists=lists,
                permits=[permit for permit in permits if permit.status == "active"],
                decisions=_shown(decided, partition, key),
            )
        )


def used(decided: Sequence[tuple[int, RecordEntry]], limits: Limits, now_ms: int) -> tuple[Used, Used, Used]:
    """Requests and phones of today, and refusals of the hour, counted as `decide` counts them before the next SMS."""
    today = [entry for day, entry in decided if day == local_day(now_ms)]
    since_s = now_ms // 1000 - REFUSALS_WINDOW_S
    refused = Counter(entry.sender for _, entry in decided if entry.refused and entry.arrived_s > since_s)
    return (
        Used(len(today), limits.requests_per_document),
        Used(len({entry.sender for entry in today if entry.letter != _ABUSE}), limits.senders_per_document),
        Used(max(refused.values(), default=0), limits.refusals_answered_per_hour),
    )


def _shown(decided: Sequence[tuple[int, RecordEntry]], partition: int, owner: bytes) -> list[DecisionShown]:
    phones: dict[bytes, int] = {}
    return [
        DecisionShown(
            arrived_at=rfc3339(entry.arrived_s * 1000),
            decided_at=rfc3339((entry.arrived_s if entry.waiting else entry.decided_s) * 1000),
            day=rfc3339(day * DAY_MS)[:10],
            phone=phones.setdefault(entry.sender, len(phones) + 1),
            purpose=entry.purpose or None,
            verdict="approved" if entry.granted else "cancelled" if entry.cancels else "refused",
            reason=REASON_OF.get(entry.letter),
            permit=None if not entry.granted else codes.encode(partition, owner, entry.digest),
            held_until=rfc3339(entry.decided_s * 1000) if entry.waiting else None,
        )
        for day, entry in decided
    ][::-1]
