"""I10: every change of an organisation's permit has an actor with authority, and the Ministry's feed has no gaps."""

from collections import Counter
from typing import Any, Final

from tests.system.checker.evidence import Evidence
from tests.system.checker.feed import feed
from tests.system.checker.finding import Finding
from tests.system.checker.layout import moment
from tests.system.checker.store import record

POWERS: Final = {
    "create": {"apply"}, "reactivate": {"apply", "edit"}, "submit": {"edit"}, "edit": {"edit"}, "cancel": {"cancel"},
    "delete": {"cancel"},
}  # fmt: skip
"""Which of them a delegate needs for a deed: any."""
OF_THE_SEAL: Final = frozenset(("register", "grant", "revoke"))
OF_SERVICES: Final = frozenset(("confirm", "refuse", "transmit"))
OFFICERS_MAY: Final = frozenset(("cancel",))


def authority(evidence: Evidence) -> Finding:
    """I10: each act by who might do it then; records, clerks and the feed say what the acts say, without gaps."""
    finding = Finding("I10", "changes of organisations' permits have an actor with authority; the feed has no gaps")
    organisations = _organisations(evidence)
    acts = [act for partition in evidence.partitions for act in evidence.acts(partition) if act.get("tin")]
    for act in acts:
        _act(finding, act, organisations)
    if any(evidence.store.is_trimmed(name) for name in evidence.names.of("acts")):
        finding.unchecked = "acts have been trimmed: records cannot be held against them"
    else:
        _records(evidence, finding, acts)
        _answered(evidence, finding, acts)
    feed(evidence, finding)
    return finding


def _act(finding: Finding, act: dict[str, Any], organisations: dict[str, dict[str, Any]]) -> None:
    deed, at_ms = act["deed"], act["at_ms"]
    name = f"{deed} of {act.get('code') or 'the organisation'} at {moment(at_ms)} by {_hidden(act['actor'])}"
    if not finding.look(bool(act["actor"]), f"{name}: nobody's"):
        return
    if deed in OF_SERVICES:
        return
    organisation = organisations.get(act["tin"])
    if not finding.look(organisation is not None, f"{name}: for an organisation that is not registered"):
        return
    assert organisation is not None
    under = act.get("under")
    if not under:
        by_seal = act.get("method") in ("asan_imza", "e_signature")
        finding.look(by_seal or deed in OFFICERS_MAY, f"{name}: neither by the seal nor under a delegation")
        return
    finding.look(deed not in OF_THE_SEAL, f"{name}: only the seal-authorised person may")
    delegation = next((one for one in organisation["delegations"] if one["id"] == under), None)
    if not finding.look(delegation is not None, f"{name}: under delegation {under}, which there is not"):
        return
    assert delegation is not None
    revoked_ms = delegation.get("revoked_ms")
    stands = delegation["from_ms"] <= at_ms < delegation["until_ms"] and (revoked_ms is None or at_ms <= revoked_ms)
    finding.look(stands, f"{name}: under delegation {under}, which did not stand then")
    may = POWERS.get(deed, set()) & set(delegation["powers"])
    finding.look(bool(may) or deed not in POWERS, f"{name}: beyond the powers of delegation {under}")


def _records(evidence: Evidence, finding: Finding, acts: list[dict[str, Any]]) -> None:
    """Each employee's permit as it stands: its status is what the last act made it, and each act of it was written."""
    written = {(act.get("code"), act["at_ms"], act["deed"], act["actor"]) for act in acts}
    for name in evidence.names.of("holder"):
        for value in evidence.store.hash(name).values():
            _, one = record(value)
            if one["kind"] != "organisation":
                continue
            told = [act for act in one["acts"] if act.get("status")]
            last = told[-1]["status"] if told else None
            finding.look(one["status"] == last, f"{one['code']}: is {one['status']}, the last act made it {last}")
            for act in one["acts"]:
                finding.look(
                    (one["code"], act["at_ms"], act["deed"], act["actor"]) in written,
                    f"{one['code']}: {act['deed']} at {moment(act['at_ms'])} stands in the record alone",
                )


def _answered(evidence: Evidence, finding: Finding, acts: list[dict[str, Any]]) -> None:
    """What clerks were told is done was done once, under that authority; at rest, nothing else of the kind was done."""
    told = Counter[tuple[str, str, str]]((one["deed"], one["permit"], one["under"]) for one in evidence.history.acted)
    deeds = {deed for deed, _, _ in told}
    done = Counter[tuple[str, str, str]](
        (act["deed"], act.get("code", ""), act.get("under", "")) for act in acts if act["deed"] in deeds
    )
    for deed, code, under in {*told, *(done if evidence.history.is_quiet else ())}:
        times, said = done[deed, code, under], told[deed, code, under]
        name = f"{deed} of {code or 'the organisation'} {f'under {under}' if under else 'by the seal'}"
        finding.look(times == said, f"{name}: told {said} times, done {times}")


def _organisations(evidence: Evidence) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name in evidence.names.of("organisations"):
        for tin, value in evidence.store.hash(name).items():
            found[tin.decode()] = record(value)[1]
    return found


def _hidden(actor: str) -> str:
    """A person's name for people to recognise, and no more."""
    return f"{actor[:2]}***" if any(character.isdigit() for character in actor) else actor
