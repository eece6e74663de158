"""I4 and I7: permits are within the quota and run as long as they may; the model, replaying the trail, stores the same."""

import re
from collections import Counter, defaultdict

from tests.system.checker import grammar
from tests.system.checker.evidence import Evidence
from tests.system.checker.finding import Finding
from tests.system.checker.grammar import Reading
from tests.system.checker.layout import day_name, day_of
from tests.system.checker.model import Model
from tests.system.checker.rules import Purpose, Regime, holds
from tests.system.checker.trail import Row, Settled

BYTES = 22
EARLIEST_MS, LATEST_MS = -48 * 3_600_000, 120_000
"""A gateway's time of receipt counts where it lies so far before and after arrival."""


def permits(evidence: Evidence) -> Finding:
    """I4: grants per document, day and purpose within the quota of the rules then in force; validity as they say."""
    finding = Finding("I4", "permits are within the quota, and run as long as they may", unchecked=evidence.trimmed)
    finding.unchecked = finding.unchecked or _other_rules(evidence)
    if finding.unchecked:
        return finding
    withdrawn = {(one.partition, one.entry_id) for one in evidence.trail.settled() if one.became == "withdrawn"}
    withdrawn |= {(row.partition, name) for row in evidence.trail.rows() for name in _undone(row, evidence)}
    granted: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for row in evidence.trail.rows():
        if row.letter != "a":
            continue
        purpose = _regime(evidence, row).purposes.get(row.purpose)
        if not finding.look(purpose is not None, f"{row.sms_id}: a permit of purpose {row.purpose}, which is none"):
            continue
        assert purpose is not None
        day = day_of(row.asked_ms)
        for most, under in purpose.limits:
            had = sum(one in under for one in granted[row.owner, day])
            finding.look(had < most, f"{row.sms_id}: permit {had + 1} of purpose {row.purpose} on {day_name(day)}")
        if (row.partition, row.entry_id) not in withdrawn:
            granted[row.owner, day].append(row.purpose)
        _receipt(evidence, finding, row)
    _validity(evidence, finding)
    return finding


def _receipt(evidence: Evidence, finding: Finding, row: Row) -> None:
    """That the moment which counts is the gateway's time of receipt where that is near, else arrival."""
    sms = evidence.history.sms.get(row.sms_id)
    if sms is not None and len(sms.texts) == 1:
        times = {one.get("received_at_ms") for one in sms.pushed}
        near = {at for at in times if at is not None and EARLIEST_MS <= at - row.arrived_ms <= LATEST_MS}
        wanted = near or {row.arrived_ms}
        finding.look(row.asked_ms in wanted, f"{row.sms_id}: counted for {row.asked_ms}, received {sorted(wanted)}")


def _validity(evidence: Evidence, finding: Finding) -> None:
    """Each permit in the day records: its length, and its quota once more."""
    found: Counter[tuple[str, str, int, int]] = Counter()
    for (partition, day, field), value in evidence.records.items():
        for at in range(0, len(value), BYTES):
            entry = value[at : at + BYTES]
            letter = entry[21:].decode("latin-1")
            if letter not in "awe":
                continue
            arrived_s, times, code = int.from_bytes(entry[10:14]), int.from_bytes(entry[14:18]), entry[20]
            regime = evidence.rules.at(arrived_s * 1000)
            purpose = regime.purposes.get(code)
            wanted = purpose.minutes if purpose is not None else None
            name = f"partition {partition}, {field}{entry[:4].hex()}, SMS {entry[4:10].hex()}"
            finding.look(times >> 2 & 4095 == wanted, f"{name}: runs {times >> 2 & 4095} min, by the rules {wanted}")
            quota_day = day - (times & 3) + 1
            found[f"{field}{entry[:4].hex()}", str(partition), quota_day, code] += 1
            for most, under in purpose.limits if purpose is not None else ():
                had = sum(found[f"{field}{entry[:4].hex()}", str(partition), quota_day, one] for one in under)
                finding.look(had <= most, f"{name}: permit {had} of purpose {code} on {day_name(quota_day)}")


def replayed(evidence: Evidence) -> Finding:
    """I7: a plain model over the trail's order gives exactly the letters, replies and records that stand."""
    finding = Finding("I7", "the model, replaying the trail, gives what is stored", unchecked=evidence.trimmed)
    finding.unchecked = finding.unchecked or _other_rules(evidence)
    if finding.unchecked:
        return finding
    busy, blocked = _documents_of_phones(evidence), _blocked(evidence)
    judged = unjudged = 0
    wanted: dict[tuple[int, int, str], bytes] = {}
    for partition, events in enumerate(evidence.trail.events):
        model = Model()
        for event in events:
            if isinstance(event, Settled):
                _settle(model, event, finding)
                continue
            if not event.owner:
                continue
            row = event
            reading = _judge(evidence, finding, row)
            judged, unjudged = judged + (reading is not None), unjudged + (reading is None)
            _decide(evidence, finding, model, row, busy, blocked)
        for (field, day), entries in model.records.items():
            if entries:
                wanted[partition, day, field] = b"".join(entry.packed() for entry in entries)
    _compare(evidence, finding, wanted)
    share = judged / max(1, judged + unjudged)
    finding.notes.append(f"texts read by a grammar of our own: {judged} of {judged + unjudged} ({share:.1%})")
    if evidence.hashes is None:
        finding.notes.append("owners and identities not recomputed: no routing key (--keys)")
    return finding


def _decide(
    evidence: Evidence,
    finding: Finding,
    model: Model,
    row: Row,
    busy: dict[tuple[str, int], set[str]],
    blocked: set[str],
) -> None:
    regime = _regime(evidence, row)
    purpose, form = regime.purposes.get(row.asked), _form(evidence, regime, row)
    if row.letter == "s" and row.shape:
        most = regime.limits.get("documents_per_sender")
        named = len(busy[row.sender, day_of(row.arrived_ms)])
        finding.look(most is not None and named > most, f"{row.sms_id}: refused for {named} documents of one phone")
        form = "s"
    elif row.letter == "k" and form is None and purpose is not None and purpose.barred_by:
        finding.look(row.owner in blocked, f"{row.sms_id}: refused for a list on which the document never stood")
        form = "k"
    elif row.letter in "cyn" and regime.cancel_word is not None:
        form = row.letter
        newest = model.newest(row)
        if row.cancels is not None:
            ended = next((e for e in newest if (e.digest, e.arrived_s) == row.cancels), None)
            if finding.look(ended is not None, f"{row.sms_id}: cancelled a permit that was not its to cancel"):
                assert ended is not None
                ended.letter = "e" if row.letter == "c" else "v"
    letter = model.decide(row, form, regime, purpose)
    finding.look(letter == row.letter, f"{row.sms_id} ({row.entry_id}): decided {row.letter}, by the model {letter}")
    if row.is_decision and letter == row.letter and letter != "s":
        says = "unanswered" if row.is_silent else "answered"
        finding.look(model.silent == row.is_silent, f"{row.sms_id}: {says}, by the model not so")


def _form(evidence: Evidence, regime: Regime, row: Row) -> str | None:
    """The letter that an SMS has for its form and its time alone."""
    purpose: Purpose | None = regime.purposes.get(row.asked)
    over = regime.until_ms is not None and row.asked_ms >= regime.until_ms
    if regime.is_off or over or (regime.curfew is not None and not holds(regime.curfew, row.asked_ms)):
        return "o"
    if row.fault == "ambiguous":
        return "x"
    if row.fault == "bad_document" or (row.shape and not _accepted(evidence, row.shape)):
        return "b"
    if row.fault:
        return "m"
    if purpose is None:
        return "u"
    if purpose.hours is not None and not holds(purpose.hours, row.asked_ms):
        return "h"
    late = regime.late_minutes is not None and row.decided_ms - row.asked_ms > regime.late_minutes * 60_000
    return "l" if late else None


def _accepted(evidence: Evidence, shape: str) -> bool:
    national = re.fullmatch(f"({'|'.join(grammar.SERIES)})(9{{7,8}})", shape)
    return evidence.rules.accepts(national[1], len(national[2])) if national else evidence.rules.accepts("", len(shape))


def _judge(evidence: Evidence, finding: Finding, row: Row) -> Reading | None:
    """What a text says, held against the trail's words; None where it cannot be told."""
    sms, hashes = evidence.history.sms.get(row.sms_id), evidence.hashes
    if sms is None:
        return None
    pushed = sms.texts
    if len(pushed) > 1 and hashes is not None:
        pushed = {
            one for one in pushed if hashes.identity(one[0], one[1], sms.id, one[2], by_text=row.by_text) == row.digest
        }
    if len(pushed) != 1:
        return None
    ((source, phone, text),) = pushed
    reading = grammar.read(text)
    if reading is None:
        return None
    said = Reading(row.asked, None, row.fault)
    finding.look(
        said == reading._replace(document=None) and bool(row.shape) == (reading.document is not None),
        f"{row.sms_id}: read as code {row.asked}, {row.shape or 'no document'}, {row.fault or 'no fault'}; "
        f"by the checker {reading.code}, {reading.document or 'no document'}, {reading.fault or 'no fault'}",
    )
    if hashes is not None:
        owner = hashes.owner(reading.document, phone)
        finding.look(owner == (row.partition, row.owner), f"{row.sms_id}: decided on another's record")
        digest = hashes.identity(source, phone, sms.id, text, by_text=row.by_text)
        finding.look(digest == row.digest, f"{row.sms_id}: another identity than its own")
    return reading


def _compare(evidence: Evidence, finding: Finding, wanted: dict[tuple[int, int, str], bytes]) -> None:
    """Every record that stands, and every one that must stand."""
    stored = evidence.records
    last = max((row.decided_ms for row in evidence.trail.rows()), default=0)
    for partition, day, field in sorted(wanted.keys() | stored.keys()):
        at = partition, day, field
        if at not in stored and day < day_of(last) - evidence.rules.keep_days:
            continue
        says, by_model = stored.get(at, b""), wanted.get(at, b"")
        finding.look(
            says == by_model,
            f"day record {day_name(day)}, partition {partition}, {field}: {_told(says)}, "
            f"by the model {_told(by_model)}",
        )


def _told(value: bytes) -> str:
    entries = [value[at : at + BYTES] for at in range(0, len(value), BYTES)]
    return "+".join(f"{e[4:10].hex()}:{e[20:21].hex()}{e[21:].decode('latin-1')}" for e in entries) or "nothing"


def _settle(model: Model, event: Settled, finding: Finding) -> None:
    entry = model.find(event.owner, event.digest, event.arrived_ms // 1000, "w")
    if finding.look(entry is not None, f"{event.entry_id}: {event.became}, and never held"):
        assert entry is not None
        entry.letter = "a" if event.became == "released" else "v"
        if event.became == "released":
            entry.delay_s = max(0, event.at_ms // 1000 - entry.arrived_s)


def _regime(evidence: Evidence, row: Row) -> Regime:
    return evidence.rules.at(min(row.asked_ms, row.arrived_ms))


def _other_rules(evidence: Evidence) -> str:
    others = {row.policy for row in evidence.trail.rows()} - {evidence.rules.version}
    return f"decided by other rules than the file's: {', '.join(sorted(others))} (--policy)" if others else ""


def _documents_of_phones(evidence: Evidence) -> dict[tuple[str, int], set[str]]:
    named: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
    for row in evidence.trail.rows():
        if row.shape:
            named[row.sender, day_of(row.arrived_ms)].add(row.owner)
    return named


def _blocked(evidence: Evidence) -> set[str]:
    acts = (act for partition in evidence.partitions for act in evidence.acts(partition))
    return {act["owner"] for act in acts if act["deed"] == "block"}


def _undone(row: Row, evidence: Evidence) -> list[str]:
    """Entries whose held approval an SMS has cancelled: their permit of the day is given back."""
    if row.letter != "y" or row.cancels is None:
        return []
    digest, arrived_s = row.cancels
    return [
        one.entry_id
        for one in evidence.trail.events[row.partition]
        if isinstance(one, Row) and (one.owner, one.digest, one.arrived_ms // 1000) == (row.owner, digest, arrived_s)
    ]
