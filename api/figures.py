"""The monitor's answer: figures of `runtime.figures` in the api's own words. Pure."""

from collections import Counter
from datetime import date, datetime
from typing import Final, Literal

import msgspec

from permits.calendar import BAKU, rfc3339
from permits.outcomes import APPROVED, CANCELLATIONS, DEAD, DUPLICATE, MOVED, REASON_OF, SHED, Reason
from runtime.figures import Figures, PartitionFigures, Queue, Rates, rates, together

Verdict = Literal["approved", "refused", "cancelled", "duplicate", "shed", "moved", "dead"]
VERDICT_OF: Final[dict[str, Verdict]] = {
    APPROVED: "approved",
    **dict.fromkeys(REASON_OF, "refused"),
    **dict.fromkeys(CANCELLATIONS, "cancelled"),
    DUPLICATE: "duplicate",
    SHED: "shed",
    MOVED: "moved",
    DEAD: "dead",
}


class Totals(msgspec.Struct, frozen=True):
    """SMS ended today."""

    decided: int
    """Approved, refused and cancelled."""
    approved: int
    refused: int
    cancelled: int
    """SMS by which a permit was cancelled."""
    duplicate: int
    shed: int
    moved: int
    dead: int
    id_reused: int
    """Decided among them, whose aggregator's id had come before with other words."""
    unanswered: int
    """Refused among them, without a reply: their document or phone had too many refusals within the hour."""


class VerdictCount(msgspec.Struct, frozen=True):
    """SMS ended today in one way."""

    purpose: int | None
    """None where none could be read."""
    verdict: Verdict
    reason: Reason | None
    """Of a refusal."""
    count: int


class Lag(msgspec.Struct, frozen=True):
    """What waits now, and for how long; an age is 0 where nothing waits."""

    undecided: int
    unsent: int
    applications: int
    outbox: int
    held: int
    """Approvals held back."""
    dead_letters: int
    oldest_undecided_s: float
    oldest_unsent_s: float
    oldest_application_s: float
    oldest_outbox_s: float
    oldest_overdue_s: float
    """How long the first held approval has been due."""
    spooled: int
    """SMS acknowledged by ingest while the store was away, which it is handing over now."""
    oldest_spooled_s: float


class PartitionLag(msgspec.Struct, frozen=True):
    """What waits in one partition."""

    partition: int
    undecided: int
    unsent: int
    applications: int
    outbox: int
    held: int
    dead_letters: int
    oldest_s: float


class Monitor(msgspec.Struct, frozen=True):
    """How the system stands. Times are RFC 3339 in UTC."""

    at: str
    """When the store was looked at."""
    stale: bool
    """The store has not answered since."""
    day: date
    """The Baku day that totals and verdicts count."""
    rates: Rates
    totals: Totals
    verdicts: list[VerdictCount]
    lag: Lag
    partitions: list[PartitionLag]


def monitor(before: Figures, now: Figures, spooled: Queue) -> Monitor:
    """The answer for one look, and what ingest still has; its rates are those since another look."""
    return Monitor(
        at=rfc3339(now.at_ms),
        stale=False,
        day=datetime.fromtimestamp(now.at_ms / 1000, BAKU).date(),
        rates=rates(before, now),
        totals=_totals(now),
        verdicts=_verdicts(now),
        lag=_lag(now, spooled),
        partitions=[_partition_lag(number, partition) for number, partition in enumerate(now.partitions)],
    )


def _verdicts(now: Figures) -> list[VerdictCount]:
    """Each verdict once: two letters are `cancelled`."""
    counted = Counter[tuple[int, Verdict, Reason | None]]()
    for (purpose, letter), count in sorted(now.outcomes.items()):
        counted[purpose, VERDICT_OF[letter], REASON_OF.get(letter)] += count
    return [
        VerdictCount(purpose or None, verdict, reason, count) for (purpose, verdict, reason), count in counted.items()
    ]


def _totals(now: Figures) -> Totals:
    letters = now.by_letter
    return Totals(
        decided=now.decided,
        approved=now.approved,
        refused=now.refused,
        cancelled=now.cancelled,
        duplicate=letters[DUPLICATE],
        shed=letters[SHED],
        moved=letters[MOVED],
        dead=letters[DEAD],
        id_reused=now.ids_reused,
        unanswered=now.unanswered,
    )


def _lag(now: Figures, spooled: Queue) -> Lag:
    applications = together(partition.applications for partition in now.partitions)
    outbox = together(partition.outbox for partition in now.partitions)
    held = together(partition.held for partition in now.partitions)
    undecided, unsent = now.undecided, now.unsent
    return Lag(
        undecided=undecided.length,
        unsent=unsent.length,
        applications=applications.length,
        outbox=outbox.length,
        held=held.length,
        dead_letters=sum(partition.dead_letters for partition in now.partitions),
        oldest_undecided_s=undecided.oldest_s,
        oldest_unsent_s=unsent.oldest_s,
        oldest_application_s=applications.oldest_s,
        oldest_outbox_s=outbox.oldest_s,
        oldest_overdue_s=held.oldest_s,
        spooled=spooled.length,
        oldest_spooled_s=spooled.oldest_s,
    )


def _partition_lag(number: int, partition: PartitionFigures) -> PartitionLag:
    queues = (partition.undecided, partition.unsent, partition.applications, partition.outbox)
    undecided, unsent, applications, outbox = (queue.length for queue in queues)
    return PartitionLag(
        partition=number,
        undecided=undecided,
        unsent=unsent,
        applications=applications,
        outbox=outbox,
        held=partition.held.length,
        dead_letters=partition.dead_letters,
        oldest_s=together(queues).oldest_s,
    )
