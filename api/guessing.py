"""The limits at the doors of questions: a 429 before the store is asked, and again before an answer goes out.

Who has reached a limit is told when to ask again, and nothing about what was asked.
"""

from collections.abc import Callable
from math import ceil

from api.auth import Caller
from api.limits import Limits
from runtime.problems import ProblemError


class Guessing:
    """The limits, on a clock of seconds that never goes back."""

    def __init__(self, limits: Limits, mono_s: Callable[[], float]) -> None:
        self._limits = limits
        self._mono_s = mono_s

    def admit(self, client: str, subject: str | None) -> None:
        """Counts a question; ProblemError 429 where it is one too many."""
        wait_s = self._limits.admit(client, subject, self._mono_s())
        if wait_s is not None:
            raise _too_much(wait_s)

    def tell(self, client: str, subject: str | None, owner: bytes, *, found: bool) -> None:
        """Counts what an answer tells about an owner; ProblemError 429 where nothing may be told any more."""
        wait_s = self._limits.answered(client, subject, owner, found=found, now_s=self._mono_s())
        if wait_s is not None:
            raise _too_much(wait_s)


def client_of(caller: Caller) -> str:
    """The service that calls; a token that names none is a service's own."""
    return caller.client or caller.subject


def _too_much(wait_s: float) -> ProblemError:
    return ProblemError(429, "Too many questions", "ask again later", headers={"Retry-After": str(ceil(wait_s))})
