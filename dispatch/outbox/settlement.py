"""What became of each event at the Ministry, written back: the permit, the counters and the outbox entry in one step.

Reads and writes `holder:{p}`, `outbox:{p}`, `feed:{p}`, `acts:{p}` and `dead:{p}`.
"""

import time
from collections.abc import Sequence
from typing import Final, Literal

from dispatch.ministry.port import FeedEvent
from dispatch.outbox.entries import Entry
from lua import changes
from lua.changes import ANY_VERSION, Change
from lua.keys import PartitionKeys
from permits.employees import Actor, Stored
from permits.messages import ENCODER, DeadLetter
from runtime.employment import MOST_TRIES, Employment
from runtime.shared import SharedWire
from runtime.telemetry import TRANSMITTED

MINISTRY: Final = "ministry"
"""Actor of what the Ministry's word does to a permit."""
NO_MINISTRY: Final = "no ministry"
"""Actor of what happens in its place where there is none."""
REASONS: Final = frozenset(
    ("unknown_employee", "unknown_organisation", "not_entitled", "zone_closed", "activity_suspended")
)
"""Of a refusal, as docs/ministry.md lists them. Words of the Ministry's own may name the person: they are dropped."""
NO_REASON: Final = "refused by the Ministry"
"""Where the Ministry gives none of them."""


class Settlement:
    """Settles events; each may be settled again, and then nothing happens."""

    def __init__(
        self,
        store: SharedWire,
        *,
        employment: Employment,
        partitions: Sequence[PartitionKeys],
        ack: Literal["taken", "off"],
    ) -> None:
        self._store = store
        self._employment = employment
        self._partitions = partitions
        self._ack: Literal["taken", "off"] = ack

    async def accepted(self, event: FeedEvent, entry: Entry) -> None:
        """The Ministry has it: a permit that has not changed since is transmitted."""
        done = Change(hash="", done=entry.entry_id, ack=self._ack)
        await self._write(event, done, was=("confirmed",), now="transmitted", reason=event.event.reason)

    async def refused(self, event: FeedEvent, entry: Entry, error: str) -> None:
        """The Ministry will never take it: a dead letter, and a permit that has not changed since is refused."""
        reason = error if error in REASONS else NO_REASON
        letter = DeadLetter("feed", entry.entry_id.decode(), f"refused: {reason}", _now_ms(), entry.text)
        done = Change(hash="", done=entry.entry_id, ack="refused", dead=ENCODER.encode(letter))
        await self._write(event, done, was=("confirmed", "transmitted"), now="refused", reason=reason)

    async def _write(
        self,
        event: FeedEvent,
        done: Change,
        *,
        was: Sequence[Stored],
        now: Literal["transmitted", "refused"],
        reason: str | None,
    ) -> None:
        for _ in range(MOST_TRIES):
            (standing,) = await self._employment.load([event.event.code])
            if standing is None or standing.version != event.event.version or standing.permit.status not in was:
                break
            if await self._employment.amend(
                standing,
                deed="transmit" if now == "transmitted" else "refuse",
                status=now,
                reason=reason,
                actor=Actor(MINISTRY if self._ack == "taken" else NO_MINISTRY, trace=event.event.trace),
                now_ms=_now_ms(),
                settles=done,
            ):
                TRANSMITTED.labels(now).inc()
                return
        # The entry alone: the permit has gone its own way, or a later event of it tells more.
        keys = self._partitions[event.partition]
        change = Change(hash=keys.feed, expected=ANY_VERSION, done=done.done, ack=done.ack, dead=done.dead)
        if isinstance(await changes.change(self._store, keys, change), changes.Done):
            TRANSMITTED.labels(now).inc()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
