"""What a worker asks of the registry of persons: is this who they say they are, and may they be employed?"""

from collections.abc import Sequence
from typing import Final, Literal, Protocol

import msgspec

from permits.employees import Employee

MOST_ASKED: Final = 100
"""Employees in one question."""

Reason = Literal[
    "unknown_person", "document_mismatch", "name_mismatch", "deceased", "not_employable", "not_confirmed"
]  # fmt: skip
"""Why a person is refused; `not_confirmed` where the registry gives no reason that we know."""


class Verdict(msgspec.Struct, frozen=True):
    """The registry's word on one employee."""

    status: Literal["confirmed", "refused", "unknown"]
    """`unknown`: to be asked again later."""
    reason: Reason | None = None
    """Of a refusal."""


CONFIRMED: Final = Verdict("confirmed")
UNKNOWN: Final = Verdict("unknown")


class RegistryAwayError(Exception):
    """The registry says nothing of anybody now."""

    def __init__(self, cause: str, pause_s: float = 0.0) -> None:
        super().__init__(cause)
        self.cause = cause
        """A word for the metric."""
        self.pause_s = pause_s
        """It wants to be left alone for so long."""


class Registry(Protocol):
    """Who confirms employees."""

    async def confirm(self, employees: Sequence[Employee]) -> Sequence[Verdict]:
        """The verdict on each of up to MOST_ASKED, in order; RegistryAwayError where there is none at all."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
