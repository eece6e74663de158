"""What the dispatcher asks of an operator: take a batch, say what became of each reply."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec


class Parcel(msgspec.Struct, gc=False):
    """One reply on its way: as it stands on the stream, and whether it may have been sent before."""

    id: str
    body: bytes
    """The reply's JSON object."""
    ambiguous: bool = False

    def wire(self) -> bytes:
        """The JSON object as an operator gets it."""
        return self.body[:-1] + b',"ambiguous":true}' if self.ambiguous else self.body


class Outcome(msgspec.Struct, frozen=True):
    """What became of a batch. A reply that is named nowhere must be sent again."""

    accepted: frozenset[str] = frozenset()
    refused: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    """For good, with the operator's reason."""
    retry: frozenset[str] = frozenset()
    """Surely not accepted this time."""
    unknown: bool = False
    """What is named nowhere may have been accepted: its next send is ambiguous."""
    pause_s: float = 0.0
    """The operator wants to be left alone for so long."""
    cause: str = ""
    """Why something must be sent again, for the metric."""


class Operator(Protocol):
    """A gateway that sends SMS."""

    async def send(self, parcels: Sequence[Parcel]) -> Outcome:
        """Hand over up to 100 replies; never raises for a gateway that misbehaves."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
