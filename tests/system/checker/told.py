"""I5 and I6: each decision is answered, once, in time and in order; what the operator has said is final."""

import json
from collections.abc import Iterator

from tests.system.checker.clients import Sent
from tests.system.checker.evidence import Evidence
from tests.system.checker.finding import Finding
from tests.system.checker.trail import Row

CLOCK_MS = 50
"""By so much a send may seem to come before its decision: two processes round one clock."""
SEAL_BYTES = 16
"""Behind the JSON of an approval that is held."""
VERDICTS = {"a": "approved", "c": "cancelled", "y": "cancelled"}


def replies(evidence: Evidence) -> Finding:
    """I5: every decision has a reply, more than one only marked, none without a decision, none before its time."""
    finding = Finding("I5", "each decision is answered once, in time", unchecked=evidence.trimmed)
    if evidence.sent is None:
        finding.unchecked = "there is no operator's log"
    if finding.unchecked or evidence.sent is None:
        return finding
    sends: dict[str, list[Sent]] = {}
    for one in evidence.sent:
        sends.setdefault(one.id, []).append(one)
    due = {reply_id: (row, since_ms) for reply_id, row, since_ms in _due(evidence)}
    dead, waiting = _buried(evidence), _waiting(evidence)
    unsent = 0
    for reply_id, (row, since_ms) in due.items():
        of_it = sends.get(reply_id, [])
        if not of_it:
            if reply_id in waiting and not evidence.history.is_quiet:
                unsent += 1
                continue
            finding.look(reply_id in dead, f"{row.sms_id}: decided {row.letter}, and no reply {reply_id}")
            continue
        verdict = VERDICTS.get(row.letter, "refused")
        finding.look(
            all((one.in_reply_to, one.verdict) == (row.sms_id, verdict) for one in of_it),
            f"{reply_id}: decided {row.letter} of {row.sms_id}, told {of_it[0].verdict} of {of_it[0].in_reply_to}",
        )
        if not evidence.history.clock_was_set:
            early_ms = since_ms - CLOCK_MS - of_it[0].at_ms
            finding.look(early_ms <= 0, f"{row.sms_id}: told {early_ms} ms before it was to be told")
            took_s = (of_it[0].at_ms - since_ms) / 1000
            finding.look(took_s <= evidence.within_s, f"{row.sms_id}: told after {took_s:.1f} s")
    for reply_id, of_it in sends.items():
        again = [one for one in of_it[1:] if not one.is_ambiguous and of_it[0].status == "accepted"]
        finding.look(not again, f"{reply_id}: sent {len(of_it)} times, {len(again)} of them again without a mark")
    _held(evidence, finding)
    notices = _notices(evidence)
    for reply_id, of_it in sends.items():
        if reply_id not in due:
            code = reply_id.rpartition("-")[2]
            is_notice = of_it[0].in_reply_to is None and code in notices
            finding.look(is_notice, f"{reply_id}: told {of_it[0].verdict} of {of_it[0].in_reply_to}, and no decision")
    if unsent:
        finding.notes.append(f"{unsent} replies still wait")
    if evidence.history.clock_was_set:
        finding.notes.append("times not compared: the clock was set")
    return finding


def statuses(evidence: Evidence) -> Finding:
    """I6: what the operator has refused for good is not sent as if it had not been."""
    finding = Finding("I6", "delivery states only move forward")
    if evidence.sent is None:
        finding.unchecked = "there is no operator's log"
        return finding
    finding.notes.append("the house keeps no delivery states: the operator's answers are all there is")
    last: dict[str, Sent] = {}
    for one in evidence.sent:
        known = last.get(one.id)
        backward = known is not None and known.status == "refused" and not one.is_ambiguous
        finding.look(not backward, f"{one.id}: {one.status} after it was refused for good")
        last[one.id] = one
    return finding


def _held(evidence: Evidence, finding: Finding) -> None:
    """Each approval that is held: it waits, or it was told, withdrawn or cancelled, and is not overdue."""
    gone = {(one.partition, one.entry_id) for one in evidence.trail.settled()}
    cancelled = {(row.owner, row.cancels[0]) for row in evidence.trail.rows() if row.letter == "y" and row.cancels}
    waiting = {
        (partition, json.loads(member[:-SEAL_BYTES])[0]): due_ms
        for partition in evidence.partitions
        for member, due_ms in evidence.store.scored(evidence.layout.key("held", partition))
    }
    buried = {letter["entry_id"] for partition in evidence.partitions for letter in evidence.letters(partition)}
    for row in evidence.trail.rows():
        at = row.partition, row.entry_id
        if not row.is_held or at in gone or (row.owner, row.digest) in cancelled:
            continue
        due_ms = waiting.pop(at, None)
        is_there = due_ms is not None or row.entry_id in buried
        if finding.look(is_there, f"{row.sms_id}: held, never told, and waits no more") and due_ms is not None:
            least_ms = row.decided_ms + row.hold_minutes * 60_000
            finding.look(
                due_ms >= least_ms, f"{row.sms_id}: to be told {least_ms - due_ms:.0f} ms before its hold is over"
            )
            over_s = (evidence.history.last_ms - due_ms) / 1000
            finding.look(over_s <= evidence.within_s, f"{row.sms_id}: waits {over_s:.0f} s longer than it was held")
    for partition, entry_id in waiting:
        finding.look(False, f"partition {partition}: approval of entry {entry_id} is held, and was never given")


def _due(evidence: Evidence) -> Iterator[tuple[str, Row, int]]:
    """Each reply that must have gone out: its id, what it answers, and since when it may."""
    held: dict[tuple[int, str], Row] = {}
    for row in evidence.trail.rows():
        if row.is_answered:
            yield evidence.reply_id(row.partition, row.entry_id), row, row.decided_ms
        elif row.is_held:
            held[row.partition, row.entry_id] = row
    for one in evidence.trail.settled():
        row = held.get((one.partition, one.entry_id))
        if row is not None and one.became == "released":
            since_ms = max(one.at_ms, row.decided_ms + row.hold_minutes * 60_000)
            yield evidence.reply_id(one.partition, one.entry_id), row, since_ms


def _buried(evidence: Evidence) -> set[str]:
    """Ids of the replies among the dead letters."""
    letters = (letter for partition in evidence.partitions for letter in evidence.letters(partition))
    return {letter["reply_id"] for letter in letters if "reply_id" in letter}


def _waiting(evidence: Evidence) -> set[str]:
    """Ids of the replies that stand in the streams."""
    streams = evidence.names.of("replies")
    return {json.loads(fields["m"])["id"] for name in streams for _, fields in evidence.store.stream(name)}


def _notices(evidence: Evidence) -> set[str]:
    """Codes of the permits that officers have cancelled or extended."""
    acts = (act for partition in evidence.partitions for act in evidence.acts(partition))
    return {act["code"] for act in acts if act["deed"] in ("cancel", "extend")}
