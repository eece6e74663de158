"""The audit trail: what was decided, in the order in which it was decided, partition by partition."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from tests.system.checker.layout import Layout
from tests.system.checker.store import Store

REASONS: Final = {
    "m": "malformed", "u": "unknown_code", "b": "bad_document", "x": "ambiguous", "q": "quota", "d": "abuse_document",
    "s": "abuse_sender", "k": "blocked", "h": "hours", "z": "zone", "l": "late", "o": "regime_off",
    "n": "nothing_to_cancel",
}  # fmt: skip
REFUSALS: Final = frozenset(REASONS)
DECISIONS: Final = REFUSALS | {"a", "c", "y"}
"""What is kept in a record and answered."""
ENDS: Final = frozenset("SX")
"""No decision, and the end of an SMS all the same: its owner's record is full; it cannot be read."""


class TrailError(ValueError):
    """An entry of the trail that cannot be read; the text names it."""


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one inbound entry."""

    partition: int
    place: str
    """Of the audit entry."""
    epoch: int
    policy: str
    decided_ms: int
    entry_id: str
    sms_id: str
    source: str
    purpose: int
    owner: str
    digest: str
    asked_ms: int
    arrived_ms: int
    by_text: bool
    asked: int
    shape: str
    fault: str
    sender: str
    hold_minutes: int
    letter: str
    is_silent: bool
    cancels: tuple[str, int] | None = None
    """Digest and arrival, s, of the permit that it has cancelled."""
    passed_over: frozenset[tuple[str, int]] = frozenset()
    """Those that it might have cancelled, but for what an officer has done with them."""

    @property
    def is_decision(self) -> bool:
        """Whether it was decided here: not a repeat, moved, shed or dead."""
        return self.letter in DECISIONS

    @property
    def is_held(self) -> bool:
        """Whether its approval waits before it is told."""
        return self.letter == "a" and self.hold_minutes > 0

    @property
    def is_answered(self) -> bool:
        """Whether a reply follows at once."""
        return self.is_decision and not self.is_silent and not self.is_held


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of an approval that was held."""

    partition: int
    at_ms: int
    became: str
    entry_id: str
    owner: str
    digest: str
    arrived_ms: int


@dataclass
class Trail:
    """All of it."""

    events: list[list[Row | Settled]] = field(default_factory=list[list[Row | Settled]])
    """By partition, in order."""
    trimmed: list[str] = field(default_factory=list[str])
    """Trails that have lost their beginning."""

    def rows(self) -> Iterator[Row]:
        """Every row."""
        return (event for events in self.events for event in events if isinstance(event, Row))

    def settled(self) -> Iterator[Settled]:
        """Every approval that waits no more."""
        return (event for events in self.events for event in events if isinstance(event, Settled))


def read(store: Store, layout: Layout) -> Trail:
    """The trail as it stands; TrailError where an entry is not as docs/asyncapi.yaml tells."""
    trail = Trail()
    for partition in range(len(layout.tags)):
        name = layout.key("audit", partition)
        if store.is_trimmed(name):
            trail.trimmed.append(name)
        events: list[Row | Settled] = []
        for place, fields in store.stream(name):
            try:
                events += _settled(fields) if "r" in fields else _rows(place, fields, partition)
            except (KeyError, ValueError, TypeError, IndexError) as error:
                raise TrailError(f"{name} {place}: {error!r}") from None
        trail.events.append(events)
    return trail


def _rows(place: str, fields: dict[str, bytes], partition: int) -> list[Row]:
    batch: dict[str, Any] = json.loads(fields["m"])
    rows, letters = batch["rows"], fields["v"].decode()
    silent = fields.get("w", b"0" * len(rows)).decode()
    cancels = {row: (permit, passed) for row, permit, passed in json.loads(fields.get("c", b"[]"))}
    if batch["partition"] != partition or not len(rows) == len(letters) == len(silent):
        raise ValueError("another partition's, or not a letter for each row")
    return [
        Row(
            partition,
            place,
            batch["epoch"],
            batch["policy"],
            batch["decided_ms"],
            *row[:13],
            hold_minutes=row[13] if len(row) > 13 else 0,
            letter=letter,
            is_silent=mute == "1",
            **_cancelled(*cancels.get(at, (None, []))),
        )
        for at, (row, letter, mute) in enumerate(zip(rows, letters, silent, strict=True))
    ]


def _cancelled(permit: list[Any] | None, passed: list[list[Any]]) -> dict[str, Any]:
    """What an SMS with the cancel word has done."""
    named = None if permit is None else (permit[0], permit[1])
    return {"cancels": named, "passed_over": frozenset((digest, arrived_s) for digest, arrived_s in passed)}


def _settled(fields: dict[str, bytes]) -> list[Settled]:
    said: dict[str, Any] = json.loads(fields["r"])
    return [
        Settled(said["partition"], said["at_ms"], said["became"], entry_id, owner, digest, arrived_ms)
        for entry_id, owner, digest, _, _, arrived_ms in said["rows"]
    ]
