"""I9: what police and officers were shown: no permit before it is stored, and a cancel wins."""

from typing import Any

from tests.system.checker.evidence import Evidence
from tests.system.checker.finding import Finding
from tests.system.checker.layout import code_of, moment
from tests.system.checker.store import record

CLOCK_MS = 50
"""By so much two processes round one clock apart."""


def shown(evidence: Evidence) -> Finding:
    """I9: the api shows no permit before it is stored; a cancel wins."""
    finding = Finding("I9", "no permit is shown before it is stored, and a cancel wins", unchecked=evidence.trimmed)
    if finding.unchecked:
        return finding
    granted, holders, confirmed = _granted(evidence), _holders(evidence), _confirmed(evidence)
    clock_was_set = evidence.history.clock_was_set
    cancelled: dict[str, list[dict[str, Any]]] = {}
    for event in evidence.history.seen:
        code, at_ms = event["permit"], event["at_ms"]
        if event["event"] == "cancelled":
            cancelled.setdefault(code, []).append(event)
            withdrawn = any(became == "withdrawn" for _, became in granted.get(code, ()))
            stands = any(one["status"] == "cancelled" for one in holders.get(code, ()))
            finding.look(withdrawn or stands, f"{code}: cancelled at {moment(at_ms)}, and no record says so")
        elif event["valid"]:
            told = [since_ms for since_ms, became in granted.get(code, ()) if became == "told"]
            stored = [*told, *confirmed.get(code, ())]  # an SMS permit and an employee's may share a code
            is_there = bool(told) or any(one["kind"] == "organisation" for one in holders.get(code, ()))
            if finding.look(is_there, f"{code}: shown as valid, and no such permit was ever stored") and stored:
                finding.look(
                    clock_was_set or min(stored) <= at_ms + CLOCK_MS,
                    f"{code}: shown as valid at {moment(at_ms)}, stored at {moment(min(stored))}",
                )
            before = [one for one in cancelled.get(code, ()) if _comes_after(event, one)]
            if before:  # several permits of one document may share a code: one of them may stand yet
                stood = sum(since_ms <= at_ms + CLOCK_MS for since_ms in stored)
                last_ms = before[-1]["at_ms"]
                finding.look(stood > len(before), f"{code}: valid at {moment(at_ms)}, cancelled at {moment(last_ms)}")
    if clock_was_set:
        finding.notes.append("times not compared: the clock was set")
    return finding


def _comes_after(event: dict[str, Any], before: dict[str, Any]) -> bool:
    """Whether a question was asked after a cancel was answered: by the same client, or as its `asked_ms` tells."""
    return event["who"] == before["who"] or event.get("asked_ms", 0) > before["at_ms"]


def _granted(evidence: Evidence) -> dict[str, list[tuple[int, str]]]:
    """Permits of the trail by code: since when, and `told`, `held` or `withdrawn`."""
    settled = {(one.partition, one.entry_id): one for one in evidence.trail.settled()}
    found: dict[str, list[tuple[int, str]]] = {}
    for row in evidence.trail.rows():
        if row.letter == "a":
            since_ms, became = row.decided_ms, "held" if row.is_held else "told"
            one = settled.get((row.partition, row.entry_id))
            if one is not None:
                since_ms, became = one.at_ms, "told" if one.became == "released" else "withdrawn"
            found.setdefault(code_of(row.partition, row.owner, row.digest), []).append((since_ms, became))
    return found


def _holders(evidence: Evidence) -> dict[str, list[dict[str, Any]]]:
    """Records of changed and of employees' permits by code."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name in evidence.names.of("holder"):
        for value in evidence.store.hash(name).values():
            one = record(value)[1]
            found.setdefault(one["code"], []).append(one)
    return found


def _confirmed(evidence: Evidence) -> dict[str, list[int]]:
    """When employees' permits began to count, by code."""
    found: dict[str, list[int]] = {}
    for partition in evidence.partitions:
        for act in evidence.acts(partition):
            if act["deed"] == "confirm" and act.get("code"):
                found.setdefault(act["code"], []).append(act["at_ms"])
    return found
