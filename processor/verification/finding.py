"""What a check found: how much it looked at, how often it failed, and a few counter-examples to start from."""

from typing import Final, Literal

import msgspec

EXAMPLES: Final = 10


class Finding(msgspec.Struct, frozen=True):
    """The result of one check."""

    invariant: str
    what: str
    says: str
    status: Literal["ok", "violated", "not checked"]
    checked: int
    violations: int
    examples: tuple[str, ...]
    note: str
    """Why it was not checked, or what had to be left out."""


class Findings:
    """Collects one check's result."""

    def __init__(self, invariant: str, what: str, says: str) -> None:
        self.checked = 0
        self.left_out = 0
        self._invariant = invariant
        self._what = what
        self._says = says
        self._violations = 0
        self._examples: list[str] = []
        self._reason: str | None = None

    def violation(self, example: str, times: int = 1) -> None:
        """Count a violation; the first few are kept in words."""
        self._violations += times
        if len(self._examples) < EXAMPLES:
            self._examples.append(example)

    def not_checked(self, why: str) -> None:
        """Say that this check judges nothing, whatever it has seen."""
        self._reason = why

    def finding(self) -> Finding:
        """The result; never `ok` where nothing could be judged."""
        unchecked = self._reason is not None
        violations = 0 if unchecked else self._violations
        older = f"{self.left_out} left out: older than the trail" if self.left_out else ""
        return Finding(
            invariant=self._invariant,
            what=self._what,
            says=self._says,
            status="not checked" if unchecked else "violated" if violations else "ok",
            checked=0 if unchecked else self.checked,
            violations=violations,
            examples=() if unchecked else tuple(self._examples),
            note=older if self._reason is None else self._reason,
        )
