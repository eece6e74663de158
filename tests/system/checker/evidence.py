"""All that one run of the checker looks at, read once."""

import json
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from tests.system.checker.clients import History, Sent, Taken
from tests.system.checker.layout import Hashes, Layout, day_number
from tests.system.checker.rules import Regime, Rules
from tests.system.checker.store import Names, Store
from tests.system.checker.trail import Row, Trail


@dataclass(eq=False)
class Evidence:
    """Store, trail, and what was seen from outside."""

    store: Store
    layout: Layout
    names: Names
    trail: Trail
    history: History
    sent: list[Sent] | None
    """None: there was no operator's log."""
    rules: Rules
    hashes: Hashes | None
    """None: the routing key is not at hand."""
    logs: Path | None = None
    metrics: tuple[Path, ...] = ()
    within_s: float = 3600
    baseline: Path | None = None
    taken: list[Taken] | None = None
    """None: there was no log of the Ministry's."""

    @cached_property
    def by_sms(self) -> dict[str, list[Row]]:
        """Rows by the aggregator's id."""
        found: dict[str, list[Row]] = {}
        for row in self.trail.rows():
            found.setdefault(row.sms_id, []).append(row)
        return found

    @cached_property
    def trimmed(self) -> str:
        """Why the trail cannot be taken for all that was decided; empty: it can."""
        return f"{len(self.trail.trimmed)} trails have lost their beginning" if self.trail.trimmed else ""

    @cached_property
    def other_rules(self) -> str:
        """Why the rules at hand cannot be held against the trail; empty: they can."""
        others = {row.policy for row in self.trail.rows()} - {self.rules.version}
        return f"decided by other rules than the file's: {', '.join(sorted(others))} (--policy)" if others else ""

    def regime(self, row: Row) -> Regime:
        """The rules for an SMS: those of its receipt; a gateway whose clock is ahead brings no other ones."""
        return self.rules.at(min(row.asked_ms, row.arrived_ms))

    @property
    def partitions(self) -> range:
        """All of them."""
        return range(len(self.layout.tags))

    def reply_id(self, partition: int, entry_id: str) -> str:
        """The id of the reply to an entry."""
        return f"{self.layout.tags[partition]}-{entry_id}"

    def standing(self, kind: str) -> int:
        """Entries that stand in the streams of a kind."""
        return sum(self.store.length(name) for name in self.names.of(kind))

    def acts(self, partition: int) -> list[dict[str, Any]]:
        """Acts of a partition, oldest first."""
        return self._said("acts", partition)

    def letters(self, partition: int) -> list[dict[str, Any]]:
        """Dead letters of a partition."""
        return self._said("dead", partition)

    @cache  # noqa: B019  # one object a run
    def _said(self, kind: str, partition: int) -> list[dict[str, Any]]:
        name = self.layout.key(kind, partition)
        return [json.loads(fields["m"]) for _, fields in self.store.stream(name)]

    @cached_property
    def records(self) -> dict[tuple[int, int, str], bytes]:
        """Day records by partition, day of arrival and field."""
        found: dict[tuple[int, int, str], bytes] = {}
        tags = {f"{{{tag}}}": at for at, tag in enumerate(self.layout.tags)}
        for name in self.names.of("day"):
            _, tag, day = name.split(":")
            for field, value in self.store.hash(name).items():
                found[tags[tag], day_number(day), field.hex()] = value
        return found
