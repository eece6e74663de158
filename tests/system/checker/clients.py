"""What outsiders saw: the history of pushers, police, officers and clerks; the operator's and the Ministry's logs."""

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

STEP_MS: Final = 1000
"""A history whose time goes back by more was written under a clock that was set."""


class ClientsError(ValueError):
    """A file that cannot be read; the text names it, and the line."""


@dataclass
class Sms:
    """One SMS as its aggregator knows it."""

    id: str
    pushed: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """Each attempt."""
    acknowledged_ms: int | None = None
    attempts: dict[str, int] = field(default_factory=dict[str, int])
    """Outcomes by name."""

    @property
    def texts(self) -> set[tuple[str, str, str]]:
        """(source, phone, text) of all attempts."""
        return {(one["source"], one["from"], one["text"]) for one in self.pushed}


@dataclass
class History:
    """What was seen, in order."""

    sms: dict[str, Sms] = field(default_factory=dict[str, Sms])
    seen: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """`shown` and `cancelled`."""
    acted: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """What a clerk was told is done for an organisation, each act once."""
    faults: dict[str, int] = field(default_factory=dict[str, int])
    is_quiet: bool = False
    last_ms: int = 0
    clock_was_set: bool = False

    def secrets(self) -> tuple[set[str], set[str]]:
        """Phones and texts that may stand nowhere in clear."""
        pushed = [one for sms in self.sms.values() for one in sms.pushed]
        return {one["from"] for one in pushed}, {one["text"] for one in pushed}


def history(path: Path) -> History:
    """The history of a run; ClientsError where a line is none of one."""
    found = History()
    for line in _lines(path, "event"):
        at_ms, event = line["at_ms"], line["event"]
        found.clock_was_set |= at_ms < found.last_ms - STEP_MS
        found.last_ms = at_ms
        if event == "quiet":
            found.is_quiet = True
        elif event == "fault":
            found.faults[line["name"]] = found.faults.get(line["name"], 0) + line.get("struck", 0)
        elif event in ("shown", "cancelled"):
            found.seen.append(line)
        elif event == "acted":
            found.acted.append(line)
        elif event in ("pushed", "acknowledged", "refused", "unknown"):
            sms = found.sms.setdefault(line["id"], Sms(line["id"]))
            sms.attempts[event] = sms.attempts.get(event, 0) + 1
            if event == "pushed":
                sms.pushed.append(line)
            elif event == "acknowledged" and sms.acknowledged_ms is None:
                sms.acknowledged_ms = at_ms
    return found


@dataclass(frozen=True)
class Sent:
    """A reply that the operator took over, or refused for good."""

    id: str
    in_reply_to: str | None
    verdict: str | None
    at_ms: int
    is_ambiguous: bool
    status: str


def sent(path: Path) -> list[Sent]:
    """The operator's log; ClientsError where a line is none of one."""
    return [
        Sent(
            line["id"],
            line.get("in_reply_to"),
            line.get("verdict"),
            line["at_ms"],
            line.get("ambiguous", False),
            line.get("status", "accepted"),
        )
        for line in _lines(path, "id")
    ]


@dataclass(frozen=True)
class Taken:
    """An event as the Ministry took it, or refused it for good; again where it came again."""

    id: str
    partition: int
    number: int
    event: str
    permit: str
    at: str
    """When it happened, RFC 3339."""
    person: str
    """Digest of whom it is for."""
    content: str
    """Digest of all of it."""
    status: str


def taken(path: Path) -> list[Taken]:
    """The Ministry's log, in the order of coming; ClientsError where a line is none of one."""
    return [Taken(**{one.name: line[one.name] for one in fields(Taken)}) for line in _lines(path, "content")]


def _lines(path: Path, needed: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ClientsError(f"{path}: {error.strerror}") from None
    for number, line in enumerate(raw.splitlines(), 1):
        try:
            said = json.loads(line)
            if missing := {"at_ms", needed} - said.keys():
                raise ValueError(f"no {missing.pop()}")
        except (ValueError, AttributeError) as error:
            raise ClientsError(f"{path}, line {number}: {error!r}") from None
        found.append(said)
    return found
