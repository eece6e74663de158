"""No Ministry: every event is taken at once, so that a confirmed permit counts without being transmitted.

Epochs are left alone: a Ministry that is switched on later must hear of all of them, to judge as we do.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

from dispatch.ministry.port import FeedEvent
from dispatch.operators.port import Outcome


class NoMinistry:
    """Takes everything and keeps nothing."""

    ack: ClassVar[Literal["taken", "off"]] = "off"

    async def send(self, events: Sequence[FeedEvent]) -> Outcome:
        """All of it."""
        return Outcome(accepted=frozenset(event.id for event in events))

    async def close(self) -> None:
        """Nothing is held."""
