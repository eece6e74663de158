"""One thing that was looked at, and what it means for the level of durability that is configured."""

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

Severity = Literal["ok", "warn", "unsafe"]
Level = Literal["memory", "fsync", "replicated"]
LEVELS: Final[tuple[Level, ...]] = ("memory", "fsync", "replicated")


class Finding(msgspec.Struct, frozen=True):
    """`unsafe`: a promise is broken at the configured level; `warn`: it holds now, and may not always."""

    name: str
    severity: Severity
    seen: str
    wanted: str
    change: str = ""
    """What to do; empty where nothing is to be done."""


def needed(level: Level, least: Level) -> Severity:
    """How bad it is to lack what a level and those above it need."""
    return "unsafe" if LEVELS.index(level) >= LEVELS.index(least) else "warn"


def worst(findings: Iterable[Finding]) -> Severity:
    """Of several."""
    found = {finding.severity for finding in findings}
    return "unsafe" if "unsafe" in found else "warn" if "warn" in found else "ok"


def ms(seconds: float) -> str:
    """As people read it."""
    return f"{seconds * 1000:.2f} ms" if seconds < 0.1 else f"{seconds * 1000:,.0f} ms"
