"""What decides an SMS beside its text and its document's past: status lists, other documents of its phone, officers."""

from collections import defaultdict
from typing import Any, Final

from tests.system.checker.evidence import Evidence
from tests.system.checker.finding import Finding
from tests.system.checker.layout import day_of
from tests.system.checker.model import Model
from tests.system.checker.rules import Regime
from tests.system.checker.trail import Row

CLOCK_MS: Final = 2000
"""An act so near to a decision may have come before or after it."""


class Outside:
    """All of it, as trails and acts have it."""

    def __init__(self, evidence: Evidence) -> None:
        self._lists = evidence.rules.lists
        self._documents: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
        for row in evidence.trail.rows():
            if row.shape:
                self._documents[row.sender, day_of(row.arrived_ms)].add(row.owner)
        self._acts: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        """Of the status lists, by owner."""
        for partition in evidence.partitions:
            for act in evidence.acts(partition):
                if act["deed"] in ("block", "unblock"):
                    self._acts[act["owner"]].append(act)

    def letter(self, finding: Finding, model: Model, row: Row, regime: Regime, form: str | None) -> str | None:
        """The letter that an SMS has before the rules look at its document's past; None: none."""
        if row.letter == "s" and row.shape:
            most, named = (
                regime.limits.get("documents_per_sender"),
                len(self._documents[row.sender, day_of(row.arrived_ms)]),
            )
            finding.look(most is not None and named > most, f"{row.sms_id}: refused for {named} documents of one phone")
            return "s"
        if row.letter in "cyn" and regime.cancel_word is not None:
            return self._cancel(finding, model, row, regime)
        if form is not None or row.letter in "DSMX":
            return form
        purpose = regime.purposes.get(row.asked)
        if purpose is None or not purpose.barred_by:
            return form
        listed = self._is_listed(row, purpose.barred_by)
        if listed is None:
            return "k" if row.letter == "k" else None
        finding.look(
            listed == (row.letter == "k"), f"{row.sms_id}: decided {row.letter}, {'' if listed else 'not '}listed"
        )
        return row.letter if row.letter == "k" else None

    def _cancel(self, finding: Finding, model: Model, row: Row, regime: Regime) -> str:
        found = model.cancellable(row, regime)
        newest = found[0] if found else None
        named = None if newest is None else (newest.digest, newest.arrived_s)
        finding.look(row.cancels == named, f"{row.sms_id}: cancelled {row.cancels}, by the model {named}")
        if newest is None:
            return "n"
        became = "y" if newest.letter == "w" else "c"
        newest.letter = "v" if newest.letter == "w" else "e"
        return became

    def _is_listed(self, row: Row, barred_by: frozenset[int]) -> bool | None:
        """Whether a document stood on one of some lists; None where an act is too near to tell."""
        acts = self._acts.get(row.owner, ())
        if any(abs(act["at_ms"] - row.decided_ms) < CLOCK_MS for act in acts):
            return None
        places: dict[str, tuple[int, int]] = {}
        for act in acts:
            if act["at_ms"] > row.decided_ms:
                continue
            known = places.pop(act["list"], None)
            if act["deed"] == "block":
                stays = known is not None and known[0] <= act["at_ms"] and not 0 < known[1] <= act["at_ms"]
                from_ms = known[0] if known is not None and stays else act.get("from_ms", 0)
                places[act["list"]] = from_ms, act.get("until_ms", 0)
        arrived_s = row.arrived_ms // 1000
        return any(
            from_ms // 1000 <= arrived_s and (not until_ms or arrived_s < until_ms // 1000)
            for name, (from_ms, until_ms) in places.items()
            if self._lists.get(name) in barred_by
        )
