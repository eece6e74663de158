"""I11: keys and memory return to their base line, which an earlier `--snapshot` of the same house has taken.

What is kept by age (records, trails, counters, numbers of senders) may have come meanwhile: each such key must have a
time to live, or be one a partition. All else must be what it was.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

from tests.system.checker.evidence import Evidence
from tests.system.checker.finding import Finding
from tests.system.checker.store import Names, Store

BY_AGE: Final = frozenset(("day", "counts", "senders", "phone", "import", "spools"))
"""Kinds whose every key has a time to live."""
TRAILS: Final = frozenset(("audit", "acts", "dead"))
PER_PARTITION: Final = frozenset(
    ("inbound", "replies", "held", "blocked", "applications", "outbox", "feed", "archive", "imports", "groups", "ends",
     "organisations", "policies", "day_keys", "lease", "fence", "mark")
)  # fmt: skip
SINGLE: Final = frozenset(("layout", "epochs", "epochs_fed", "members"))
HOLDERS: Final = frozenset(("holder", "org", "person"))
"""Come with employees' and changed permits, and go 30 days after their end."""
MEMORY_SLACK: Final = (0.2, 4 << 20)
"""Of the base line, and bytes: the larger is what memory may have grown by, beside what is kept by age and what waits
for replicas."""
CLIENTS_SLACK: Final = 12
"""Connections that roles open with their first work: three to nine of a house that has just started."""


def snapshot(store: Store, names: Names) -> dict[str, Any]:
    """What stands now: keys and bytes by kind, memory, consumers, pending entries, clients."""
    keys: Counter[str] = Counter()
    size: Counter[str] = Counter()
    groups: Counter[str] = Counter()
    for name in names.all:
        kind = name.partition(":")[0]
        keys[kind] += 1
        size[kind] += store.bytes_of(name)
        for group in store.groups(name):
            groups["consumers"] += group["consumers"]
            groups["pending"] += group["pending"]
    memory = store.info("memory")
    return {
        "keys": dict(keys),
        "bytes": dict(size),
        "memory": memory["used_memory"] - memory.get("mem_total_replication_buffers", 0),
        "clients": store.info("clients")["connected_clients"],
        "consumers": groups["consumers"],
        "pending": groups["pending"],
    }


def growth(evidence: Evidence) -> Finding:
    """I11: keys, memory, consumers, pending entries and clients are back at their base line."""
    finding = Finding("I11", "keys and memory return to their base line")
    _kinds(evidence, finding)
    if evidence.baseline is None:
        finding.unchecked = "no base line was given (--baseline)"
        return finding
    before, now = _read(evidence.baseline), snapshot(evidence.store, evidence.names)
    for kind in sorted(before["keys"].keys() | now["keys"].keys()):
        was, stands = before["keys"].get(kind, 0), now["keys"].get(kind, 0)
        if kind not in BY_AGE | TRAILS | PER_PARTITION | HOLDERS:
            finding.look(stands <= was, f"{kind}: {stands} keys, {was} before")
    for name in ("consumers", "pending"):
        finding.look(now[name] <= before[name], f"{name}: {now[name]}, {before[name]} before")
    finding.look(
        now["clients"] <= before["clients"] + CLIENTS_SLACK, f"clients: {now['clients']}, {before['clients']} before"
    )
    was, stands = _lasting(before), _lasting(now)
    share, least = MEMORY_SLACK
    finding.look(stands - was <= max(share * was, least), f"memory beside what is kept by age: {stands}, {was} before")
    return finding


def _kinds(evidence: Evidence, finding: Finding) -> None:
    """Each key by its kind: known, with a time to live where it is to have one, once a partition where it is one."""
    partitions = len(evidence.layout.tags)
    for name in evidence.names.all:
        kind = name.partition(":")[0]
        if kind in BY_AGE:
            finding.look(evidence.store.ttl_s(name) >= 0, f"{name}: no time to live")
        else:
            known = kind in TRAILS | PER_PARTITION | SINGLE | HOLDERS
            finding.look(known, f"a key of no kind of the house: {name[:40]}")
    for kind in sorted(TRAILS | PER_PARTITION):
        most = partitions * (2 if kind in ("lease", "fence") else 1) + (kind == "mark")  # one where the epochs are
        stands = len(evidence.names.of(kind))
        finding.look(stands <= most, f"{kind}: {stands} keys of {partitions} partitions")


def _lasting(of: dict[str, Any]) -> int:
    return of["memory"] - sum(of["bytes"].get(kind, 0) for kind in BY_AGE | TRAILS | HOLDERS)


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
