"""What was found of one invariant: how many facts were looked at, and each that does not hold."""

import re
from dataclasses import dataclass, field
from typing import Any, Final, Literal

MOST_EXAMPLES: Final = 20
_SECRET: Final = re.compile(
    r"\+\d{7,15}|(?<![0-9A-Za-z-])(?:AZE|AA|MYI|DYI|MOM|[A-Z]{1,3})[\s.:/-]?\d{6,8}(?![0-9A-Za-z-])", re.I
)


@dataclass
class Finding:
    """Grows while an invariant is looked at."""

    invariant: str
    says: str
    looked: int = 0
    broken: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])
    unchecked: str = ""
    """Why it could not be looked at; it is broken all the same where something does not hold."""

    def look(self, holds: bool, what: str) -> bool:
        """One fact more; `what` names it where it does not hold."""
        self.looked += 1
        if not holds:
            self.broken.append(masked(what))
        return holds

    @property
    def status(self) -> Literal["ok", "broken", "not checked"]:
        """Broken where anything is; ok only where something was looked at."""
        if self.broken:
            return "broken"
        return "not checked" if self.unchecked or not self.looked else "ok"

    def told(self, examples: int = MOST_EXAMPLES) -> dict[str, Any]:
        """As JSON, with so many examples at most."""
        why = "" if self.status != "not checked" else self.unchecked or "there was nothing to look at"
        return {
            "invariant": self.invariant,
            "says": self.says,
            "status": self.status,
            "looked": self.looked,
            "broken": len(self.broken),
            "why": why,
            "notes": self.notes,
            "examples": self.broken[:examples],
        }


def masked(text: str) -> str:
    """The text with all but the last two characters of documents and phones hidden."""
    return _SECRET.sub(lambda found: "***" + found[0][-2:], text)
