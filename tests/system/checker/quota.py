"""I4: permits are within the quota, and run as long as the rules say."""

from collections import Counter, defaultdict
from typing import Final

from tests.system.checker.evidence import Evidence
from tests.system.checker.finding import Finding
from tests.system.checker.layout import date_of, day_of
from tests.system.checker.model import BYTES
from tests.system.checker.trail import Row

CHANNELS: Final = 2
EARLIEST_MS, LATEST_MS = -48 * 3_600_000, 120_000
"""A gateway's time of receipt counts where it lies so far before and after arrival."""


def permits(evidence: Evidence) -> Finding:
    """I4: grants per document, day and purpose within the quota of the rules then in force; validity as they say."""
    finding = Finding("I4", "permits are within the quota, and run as long as they may", unchecked=evidence.trimmed)
    finding.unchecked = finding.unchecked or evidence.other_rules
    if finding.unchecked:
        return finding
    withdrawn = {(one.partition, one.entry_id) for one in evidence.trail.settled() if one.became == "withdrawn"}
    withdrawn |= {(row.partition, name) for row in evidence.trail.rows() for name in _undone(row, evidence)}
    granted: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for row in evidence.trail.rows():
        if row.letter != "a":
            continue
        regime = evidence.regime(row)
        purpose = regime.purposes.get(row.purpose)
        if not finding.look(purpose is not None, f"{row.sms_id}: a permit of purpose {row.purpose}, which is none"):
            continue
        assert purpose is not None
        day = day_of(row.asked_ms)
        for most, under in purpose.limits:
            had = sum(one in under for one in granted[row.owner, day])
            finding.look(had < most, f"{row.sms_id}: permit {had + 1} of purpose {row.purpose} on {date_of(day)}")
        if (row.partition, row.entry_id) not in withdrawn:
            granted[row.owner, day].append(row.purpose)
        holds = set(regime.hold_minutes.values())
        if len(regime.hold_minutes) < CHANNELS:
            holds.add(0)
        finding.look(row.hold_minutes in holds, f"{row.sms_id}: held {row.hold_minutes} min, by the rules {holds}")
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
                finding.look(had <= most, f"{name}: permit {had} of purpose {code} on {date_of(quota_day)}")


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
