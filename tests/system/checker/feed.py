"""The Ministry's feed: numbers without gaps, each told as one thing; every act that is the Ministry's to know, told."""

import json
from collections import defaultdict
from datetime import datetime
from typing import Any, Final

from tests.system.checker.clients import Taken
from tests.system.checker.evidence import Evidence
from tests.system.checker.finding import Finding

SETTLED: Final = ("taken", "refused", "off")
IN_FORCE: Final = ("confirmed", "transmitted")
NOT_YET: Final = ("draft", "submitted")
OF_THE_MINISTRY: Final = ("transmit", "refuse")
"""Deeds that it need not be told of: they tell its own word."""
Told = tuple[str, int]
"""What an event says happened, and when, ms."""


def feed(evidence: Evidence, finding: Finding) -> None:
    """Counters, entries that wait, and what the Ministry has taken, against each other and the acts."""
    taken: defaultdict[int, list[Taken]] = defaultdict(list)
    for one in evidence.taken or ():
        taken[one.partition].append(one)
    for partition in evidence.partitions:
        name = evidence.layout.key("feed", partition)
        counts = {field.decode(): value for field, value in evidence.store.hash(name).items()}
        given, off = int(counts.get("numbered", 0)), int(counts.get("off", 0))
        waiting = _waiting(evidence, partition)
        if counts:
            settled = sum(int(counts.get(each, 0)) for each in SETTLED)
            _numbers(finding, name, given, settled, waiting)
            confirmed = sum(act["deed"] == "confirm" for act in evidence.acts(partition))
            finding.look(given >= confirmed, f"{name}: {given} numbers, {confirmed} permits confirmed")
        if evidence.taken is None:
            if given > off:
                finding.unchecked = "what the Ministry has taken is not at hand (--ministry)"
            continue
        if not counts and not taken[partition]:
            continue
        first = _first(finding, f"{evidence.layout.tags[partition]}-", taken[partition])
        missing = set(range(1, given + 1)) - first.keys() - set(waiting)
        finding.look(len(missing) == off, f"{name}: of {given} the Ministry lacks {sorted(missing)[:5]}")
        finding.look(not first or max(first) <= given, f"{name}: the Ministry has {max(first, default=0)} of {given}")
        if not off and not evidence.store.is_trimmed(evidence.layout.key("acts", partition)):
            _acts(evidence, finding, partition, first, still_waits=bool(waiting))


def _waiting(evidence: Evidence, partition: int) -> list[int]:
    """Numbers that stand in the outbox."""
    entries = evidence.store.stream(evidence.layout.key("outbox", partition))
    events = (json.loads(fields["m"]) for _, fields in entries)
    return [event["number"] for event in events if event.get("number")]


def _numbers(finding: Finding, name: str, given: int, settled: int, waiting: list[int]) -> None:
    """Numbers given = numbers settled + numbers that wait, each once."""
    finding.look(given == settled + len(waiting), f"{name}: {given} numbers, {settled} settled, {len(waiting)} wait")
    finding.look(len(set(waiting)) == len(waiting) and all(n <= given for n in waiting), f"{name}: a number twice")


def _first(finding: Finding, tag: str, taken: list[Taken]) -> dict[int, Taken]:
    """Each number as it came first: later it is the same, and those of one person come in order."""
    first: dict[int, Taken] = {}
    latest: dict[str, int] = {}
    for one in taken:
        finding.look(one.id == f"{tag}{one.number}", f"{one.id}: told as number {one.number} of {tag}")
        known = first.setdefault(one.number, one)
        if known is not one:
            same = (known.content, known.status) == (one.content, one.status)
            finding.look(same, f"{one.id}: told as two things, or answered in two ways")
            continue
        before = latest.get(one.person, 0)
        finding.look(before < one.number, f"{one.id}: told after number {before} of the same person")
        latest[one.person] = max(before, one.number)
    return first


def _acts(evidence: Evidence, finding: Finding, partition: int, first: dict[int, Taken], *, still_waits: bool) -> None:
    """Each permit as the Ministry was told of it is as its acts have made it."""
    due = _due(evidence.acts(partition))
    said: defaultdict[str, list[Told]] = defaultdict(list)
    for _, one in sorted(first.items()):
        at_ms = round(datetime.fromisoformat(one.at).timestamp() * 1000)
        said[one.permit].append((one.event, at_ms))
    for code in due.keys() | said.keys():
        told, wanted = said[code], due[code]
        holds = told == wanted or (still_waits and told == wanted[: len(told)])
        finding.look(holds, f"{code}: acts {[what for what, _ in wanted]}, told {[what for what, _ in told]}")


def _due(acts: list[dict[str, Any]]) -> defaultdict[str, list[Told]]:
    """By permit, what the Ministry is to be told: its confirmation, and every change of one that it may hold."""
    found: defaultdict[str, list[Told]] = defaultdict(list)
    was: dict[str, str] = {}
    for act in acts:
        code, status, deed = act.get("code"), act.get("status"), act["deed"]
        if not act.get("tin") or not code or not status:
            continue
        is_known = status == "confirmed" or (was.get(code) in IN_FORCE and status not in NOT_YET)
        was[code] = status
        if is_known and deed not in OF_THE_MINISTRY:
            event = "cancelled" if status == "cancelled" else "granted" if deed == "confirm" else "changed"
            found[code].append((event, act["at_ms"]))
    return found
