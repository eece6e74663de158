"""I7: a plain model, replaying the order of the trail, comes to what is stored."""

import re

from tests.system.checker import grammar
from tests.system.checker.evidence import Evidence
from tests.system.checker.finding import Finding
from tests.system.checker.grammar import Reading
from tests.system.checker.layout import date_of, day_of
from tests.system.checker.model import BYTES, Model
from tests.system.checker.outside import Outside
from tests.system.checker.rules import Purpose, Regime, holds
from tests.system.checker.trail import Row, Settled


def replayed(evidence: Evidence) -> Finding:
    """I7: a plain model over the trail's order gives exactly the letters, replies and records that stand."""
    finding = Finding("I7", "the model, replaying the trail, gives what is stored", unchecked=evidence.trimmed)
    finding.unchecked = finding.unchecked or evidence.other_rules
    if finding.unchecked:
        return finding
    outside = Outside(evidence)
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
            _decide(evidence, finding, model, row, outside)
        for (field, day), entries in model.records.items():
            if entries:
                wanted[partition, day, field] = b"".join(entry.packed() for entry in entries)
    _compare(evidence, finding, wanted)
    share = judged / max(1, judged + unjudged)
    finding.notes.append(f"texts read by a grammar of our own: {judged} of {judged + unjudged} ({share:.1%})")
    if evidence.hashes is None:
        finding.notes.append("owners and identities not recomputed: no routing key (--keys)")
    return finding


def _decide(evidence: Evidence, finding: Finding, model: Model, row: Row, outside: Outside) -> None:
    """One row by the model, and what must have come of it."""
    regime = evidence.regime(row)
    purpose = regime.purposes.get(row.asked)
    form = outside.letter(finding, model, row, regime, _form(evidence, regime, row))
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
    word = evidence.regime(row).cancel_word
    if word is not None and reading.document is not None and text.isascii():
        asks = re.search(rf"(?<![A-Z]){word}(?![A-Z])", text.upper()) is not None
        held_to = row.letter not in ("cyn" if not asks else "aq")
        finding.look(held_to, f"{row.sms_id}: decided {row.letter}, {'with' if asks else 'without'} the cancel word")
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
            f"day record {date_of(day)}, partition {partition}, 0x{field}: {_told(says)}, "
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
