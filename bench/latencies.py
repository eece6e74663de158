"""Latencies as they were: every value is kept, so that no percentile is rounded to a bucket.

Used by all that measure from an intended start. HdrHistogram's package was weighed and left out: it has no wheel for
Linux on ARM and brings setuptools along, and a run here has few enough values to keep them all, at 8 bytes each.
"""

from array import array
from collections.abc import Iterable
from math import ceil
from typing import Final

SHARES: Final = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
NINES: Final = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999, 1.0)
"""Shares of a curve whose axis is the number of nines."""


class Latencies:
    """Waits in seconds, read in milliseconds."""

    def __init__(self, seconds: Iterable[float] = ()) -> None:
        self._seconds = array("d", seconds)
        self._ordered = not self._seconds

    def __len__(self) -> int:
        return len(self._seconds)

    def add(self, seconds: float) -> None:
        """One more."""
        self._seconds.append(seconds)
        self._ordered = False

    def at_ms(self, share: float) -> float:
        """The least value that this share of all does not exceed; 0 of none."""
        if not self._ordered:
            self._seconds = array("d", sorted(self._seconds))
            self._ordered = True
        if not self._seconds:
            return 0.0
        # A product such as 0.999 * 1000 may lie a hair above its whole number, and must not count one further.
        at = ceil(round(share * len(self._seconds), 6)) - 1
        return round(self._seconds[max(at, 0)] * 1000, 3)

    def figures(self, prefix: str = "") -> dict[str, float]:
        """As a report shows them."""
        return {
            **{f"{prefix}{name}_ms": self.at_ms(share) for name, share in SHARES.items()},
            f"{prefix}max_ms": self.at_ms(1),
        }

    def curve(self) -> list[tuple[float, float]]:
        """(share, ms), for a plot."""
        return [(share, self.at_ms(share)) for share in NINES]
