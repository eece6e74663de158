"""What one version of the rules may change of the one before it: what is to come, and nothing that has been.

Whoever stores or confirms a version asks here first.
"""

from itertools import zip_longest
from typing import Final

from permits.calendar import day_start_ms, local_day
from permits.policy import Policy
from permits.regimes import instant_ms

RECEIPT_AHEAD_MS: Final = 120_000
"""How far ahead of the clock a day's first record may be made: a gateway's clock may be that much early."""


def first_change_ms(before: Policy, after: Policy) -> int | None:
    """The first instant whose regime differs, None where all are the same. The first regime holds since ever: 0."""
    for at, (old, new) in enumerate(zip_longest(before.regimes, after.regimes)):
        if old != new:
            return min(instant_ms(regime.start) for regime in (old, new) if regime is not None) if at else 0
    return None


def known_by_ms(before: Policy, after: Policy) -> int | None:
    """When every worker must know `after` at the latest, None where it says the same at any time.

    Records that must stay longer than before need that from the beginning of their day.
    """
    changes_ms = first_change_ms(before, after)
    if changes_ms is None or after.keep_days <= before.keep_days:
        return changes_ms
    return max(0, day_start_ms(local_day(changes_ms)) - RECEIPT_AHEAD_MS)


def undated_changes(before: Policy, after: Policy) -> list[str]:
    """What `after` changes that has no date, so that it would change the past too; a line each."""
    found: list[str] = []
    if after.documents != before.documents:
        found.append("documents: has no date, so it must stay as it is")
    for name, number in before.lists.items():
        if after.lists.get(name) != number:
            found.append(f"lists.{name}: must stay {number}; other lists may be added")
    found += [
        f"zones.{name}: must stay as it is; other zones may be added"
        for name, texts in before.zones.items()
        if after.zones.get(name) != texts
    ]
    return found
