"""I8: the accounts: nothing went in that did not come out, nothing waits, and the counters say what the trail says."""

from collections import Counter

from tests.system.checker.evidence import Evidence
from tests.system.checker.finding import Finding
from tests.system.checker.layout import day_name, day_of

EMPTY_AT_REST = ("inbound", "replies", "applications", "outbox", "imports")


def accounts(evidence: Evidence) -> Finding:
    """I8: inbound = decided + repeats + moved + shed + dead; at rest nothing waits; counters equal a recount."""
    finding = Finding("I8", "the accounts agree, and nothing waits", unchecked=evidence.trimmed)
    if not evidence.trimmed:
        _streams(evidence, finding)
        _counters(evidence, finding)
    if evidence.history.is_quiet:
        _rest(evidence, finding)
    else:
        finding.unchecked = finding.unchecked or "the history does not say that the house is at rest (`quiet`)"
    return finding


def _streams(evidence: Evidence, finding: Finding) -> None:
    """Each partition by the store's own count of what ever went into its streams."""
    store, layout = evidence.store, evidence.layout
    rows = Counter(row.partition for row in evidence.trail.rows())
    told = Counter(row.partition for row in evidence.trail.rows() if row.is_answered)
    told += Counter(one.partition for one in evidence.trail.settled() if one.became == "released")
    dead = Counter(row.partition for row in evidence.trail.rows() if row.letter == "X")
    for partition in range(len(layout.tags)):
        inbound, answers = layout.key("inbound", partition), layout.key("replies", partition)
        came, stands = store.added(inbound), store.length(inbound)
        finding.look(came == rows[partition] + stands, f"{inbound}: {came} came, {rows[partition]} rows, {stands} wait")
        notices = sum(act["deed"] in ("cancel", "extend", "requeue") for act in evidence.acts(partition))
        went = store.added(answers)
        finding.look(
            told[partition] <= went <= told[partition] + notices,
            f"{answers}: {went} replies, {told[partition]} answers and at most {notices} notices and replies put back",
        )
        buried, letters = layout.key("dead", partition), evidence.letters(partition)
        of_inbound = sum(letter["kind"] == "inbound" for letter in letters)
        finding.look(
            of_inbound <= dead[partition] <= store.added(buried),
            f"{buried}: {of_inbound} letters of inbound, {store.added(buried)} in all, {dead[partition]} in the trail",
        )


def _counters(evidence: Evidence, finding: Finding) -> None:
    """Every counter that stands, recounted."""
    counted: Counter[tuple[int, str, bytes]] = Counter()
    for row in evidence.trail.rows():
        at = row.partition, day_name(day_of(row.decided_ms))
        counted[*at, f"{row.letter}{row.purpose}".encode()] += 1
        counted[*at, b"unanswered"] += row.is_silent
    days = {(partition, day) for partition, day, _ in counted}
    for partition, day in sorted(days):
        name = evidence.layout.key("counts", partition, day)
        stored = evidence.store.hash(name)
        if not stored:
            finding.notes.append(f"{name} is no more")
            continue
        wanted = {field: count for (p, d, field), count in counted.items() if (p, d) == (partition, day) and count}
        for field in sorted((wanted.keys() | stored.keys()) - {b"id_reused"}):
            says, recounted = int(stored.get(field, 0)), wanted.get(field, 0)
            finding.look(says == recounted, f"{name} {field.decode()}: says {says}, recounted {recounted}")


def _rest(evidence: Evidence, finding: Finding) -> None:
    """Streams of work, and their groups."""
    for kind in EMPTY_AT_REST:
        for name in evidence.names.of(kind):
            stands = evidence.store.length(name)
            finding.look(stands == 0, f"{name}: {stands} entries at rest")
            for group in evidence.store.groups(name):
                says = f"{name}, group {group['name'].decode()}"
                finding.look(group["pending"] == 0, f"{says}: {group['pending']} pending")
                # A lane reads from the head, past its group, after any doubt: there only what stands is behind.
                behind = min(group["lag"] or 0, stands) if kind == "inbound" else group["lag"]
                finding.look(not behind, f"{says}: {behind} behind")
