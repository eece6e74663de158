"""No Ministry: every event is taken at once, so that a confirmed permit counts without being transmitted."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from dispatch.ministry.port import FeedEvent, epoch_id
from dispatch.operators.port import Outcome
from permits.employees import Epoch


class NoMinistry:
    """Takes everything and keeps nothing."""

    ack: ClassVar[Literal["taken", "off"]] = "off"

    async def send(self, events: Sequence[FeedEvent]) -> Outcome:
        """All of it."""
        return Outcome(accepted=frozenset(event.id for event in events))

    async def proclaim(self, epoch: Epoch) -> Outcome:
        """This too."""
        return Outcome(accepted=frozenset((epoch_id(epoch.number),)))

    async def close(self) -> None:
        """Nothing is held."""
