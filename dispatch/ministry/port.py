"""What the dispatcher asks of the Ministry: take events of permits and epochs, say what became of each."""

from collections.abc import Sequence
from typing import ClassVar, Literal, Protocol

import msgspec

from dispatch.operators.port import Outcome
from permits.employees import Epoch
from permits.messages import OutboxEvent


class FeedEvent(msgspec.Struct, frozen=True):
    """A numbered event on its way."""

    id: str
    """Stable: partition tag and number."""
    partition: int
    event: OutboxEvent


def epoch_id(number: int) -> str:
    """The id under which an epoch is transmitted."""
    return f"epoch-{number}"


class Taker(Protocol):
    """Whoever takes events off the outbox."""

    ack: ClassVar[Literal["taken", "off"]]
    """The counter of `feed:{p}` under which its acceptances go."""

    async def send(self, events: Sequence[FeedEvent]) -> Outcome:
        """Hand over up to 100 events of different owners; never raises for a Ministry that misbehaves."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class Ministry(Taker, Protocol):
    """Who takes the feed."""

    async def proclaim(self, epoch: Epoch) -> Outcome:
        """Hand over one epoch."""
        ...
