"""I1 to I3: what was acknowledged is decided, once, by one worker."""

from collections import Counter
from itertools import pairwise

from tests.system.checker.evidence import Evidence
from tests.system.checker.finding import Finding
from tests.system.checker.trail import ENDS, Row

REPEATED_WITHIN_MS = 120_000
"""A text without an id is the same SMS again within so long of arrival."""
REPEATED_WITHIN_DAYS = 2
DAY_MS = 86_400_000


def acknowledged(evidence: Evidence) -> Finding:
    """I1: an acknowledged SMS has an inbound entry and one decision; another has none or one."""
    finding = Finding("I1", "each acknowledged SMS has one decision", unchecked=evidence.trimmed)
    if finding.unchecked:
        return finding
    standing = evidence.standing("inbound")
    lost: list[str] = []
    for sms in evidence.history.sms.values():
        rows = evidence.by_sms.get(sms.id, [])
        decided = sum(row.is_decision for row in rows)
        ended = sum(row.letter in ENDS for row in rows)
        if sms.acknowledged_ms is not None and not rows:
            lost.append(sms.id)
        elif sms.acknowledged_ms is not None:
            finding.look(decided == 1 or (not decided and ended > 0), f"{sms.id}: acknowledged, {decided} decisions")
        else:
            finding.look(decided <= 1, f"{sms.id}: not acknowledged, {decided} decisions")
    if lost and standing and not evidence.history.is_quiet:
        finding.unchecked = f"{len(lost)} SMS are not decided, and {standing} entries wait"
    elif lost:
        for name in lost:
            finding.look(False, f"{name}: acknowledged, and no trace of it")
    return finding


def identities(evidence: Evidence) -> Finding:
    """I2: one aggregator's id, one decision; repeats get the same answer."""
    finding = Finding("I2", "one id, one decision", unchecked=evidence.trimmed)
    if finding.unchecked:
        return finding
    first: dict[tuple[str, str], Row] = {}
    answers: dict[tuple[str, str], set[str]] = {}
    for row in evidence.trail.rows():
        name = (row.owner, row.digest)
        if row.letter == "D":
            known = first.get(name)
            finding.look(
                known is not None and _is_repeat(known, row),
                f"{row.sms_id} ({row.entry_id}): told to be a repeat of nothing",
            )
        elif row.is_decision:
            known = first.get(name)
            finding.look(
                known is None or not _is_repeat(known, row),
                f"{row.sms_id}: decided as {known.letter if known else ''} ({known.entry_id if known else ''}) and "
                f"as {row.letter} ({row.entry_id})",
            )
            first[name] = row
            answers.setdefault((row.source, row.sms_id), set()).add(row.digest[:8])
    for (source, sms_id), digests in answers.items():
        sms = evidence.history.sms.get(sms_id)
        if sms is not None and len(sms.texts) == 1:
            finding.look(len(digests) == 1, f"{sms_id} of {source}: one SMS under {len(digests)} identities")
    verdicts: dict[str, set[str]] = {}
    for one in evidence.sent or []:
        if one.in_reply_to is not None:
            verdicts.setdefault(one.in_reply_to, set()).add(one.verdict or "")
    for sms_id, told in verdicts.items():
        sms = evidence.history.sms.get(sms_id)
        if sms is not None and len(sms.texts) == 1:
            finding.look(len(told) == 1, f"{sms_id}: answered {' and '.join(sorted(told))}")
    return finding


def _is_repeat(known: Row, row: Row) -> bool:
    apart_ms = abs(row.arrived_ms - known.arrived_ms)
    return apart_ms <= REPEATED_WITHIN_MS + 1000 if row.by_text else apart_ms <= (REPEATED_WITHIN_DAYS + 1) * DAY_MS


def workers(evidence: Evidence) -> Finding:
    """I3: no entry decided by two workers: each entry once, in the stream's order, under leases that only follow."""
    finding = Finding("I3", "no entry is decided by two workers")
    for partition, events in enumerate(evidence.trail.events):
        rows = [event for event in events if isinstance(event, Row)]
        counted = Counter(row.entry_id for row in rows)
        for entry_id, times in counted.items():
            finding.look(times == 1, f"partition {partition}: entry {entry_id} decided {times} times")
        for before, row in pairwise(rows):
            if row.epoch < before.epoch:
                finding.look(
                    False, f"partition {partition}: {row.entry_id} under epoch {row.epoch}, after {before.epoch}"
                )
            if _order(row.entry_id) < _order(before.entry_id):
                finding.look(False, f"partition {partition}: {row.entry_id} decided after {before.entry_id}")
        fence = evidence.store.string(evidence.layout.key("fence:decide", partition))
        if rows:
            last = rows[-1].epoch
            finding.look(last <= int(fence or 0), f"partition {partition}: epoch {last}, which was never leased")
    return finding


def _order(entry_id: str) -> tuple[int, int]:
    ms, _, sequence = entry_id.partition("-")
    return int(ms), int(sequence)
