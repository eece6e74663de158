"""The operator's log as it grows, and what stalls and recoveries it shows beside the history."""

import json
from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

RIGHT_AFTER_MS: Final = 250
"""Long enough for an SMS in nearly every partition."""


class Sends:
    """The first moment at which each SMS was answered, read on from where the last look ended."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._offset = 0
        self.sent = 0
        """Sends so far."""
        self.first: dict[str, int] = {}

    def look(self) -> "Sends":
        """Read what has come."""
        if self._log.exists():
            with self._log.open("rb") as file:
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._offset += len(line)
                    said = json.loads(line)
                    self.sent += 1
                    self.first.setdefault(said["in_reply_to"] or "", said["at_ms"])
        return self


def longest_wait_s(events: Iterable[dict[str, Any]], first: dict[str, int]) -> float:
    """The longest that an acknowledged SMS waited for its answer at the operator."""
    longest = 0
    for event in events:
        if event["event"] == "acknowledged" and event["id"] in first:
            longest = max(longest, first[event["id"]] - event["at_ms"])
    return longest / 1000


def slowest_recovery_s(events: Iterable[dict[str, Any]], first: dict[str, int]) -> float | None:
    """From a strike until all that was pushed right after it is answered; the slowest of all strikes."""
    strikes: list[int] = []
    pushed: dict[str, int] = {}
    for event in events:
        if event["event"] == "fault" and event.get("struck"):
            strikes.append(event["at_ms"])
        elif event["event"] == "pushed":
            pushed.setdefault(event["id"], event["at_ms"])
    moments = sorted((at_ms, first[name]) for name, at_ms in pushed.items() if name in first)
    slowest: float | None = None
    for strike in strikes:
        after = moments[bisect_left(moments, (strike, 0)) : bisect_left(moments, (strike + RIGHT_AFTER_MS, 0))]
        if after:
            slowest = max(slowest or 0.0, (max(sent for _, sent in after) - strike) / 1000)
    return slowest
