"""The checks over one history: programs of their own that were not part of the run, and their findings as numbers.

Reads what a run has left: history, operator's log, keys, logs, and the store at rest.
"""

import json
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.system.house import House
from tests.system.laboratory.history import History

LOST: Final = {("I1", "loss")}
DOUBLED: Final = {("I2", "identities"), ("I3", "entries"), ("I1", "one place"), ("I4", "quota")}


class Checked(msgspec.Struct):
    """What the checks found."""

    decided: int
    sent: int
    ambiguous: int
    lost: int
    doubled: int
    violated: list[str]
    """Every check that did not hold, in words."""


def checked(house: House, history: History) -> Checked:
    """Findings of `icaze verify` over the history."""
    _write_journal(history, house.journal)
    words = ["--journal", str(house.journal), "--sink", str(house.sink_log), "--json"]
    done = house.call("verify", *words)
    if done.returncode not in (0, 1):
        return Checked(0, 0, 0, 0, 0, [f"icaze verify: {done.stderr[-500:]}"])
    report: dict[str, Any] = json.loads(done.stdout)
    bad = [check for check in report["checks"] if check["status"] != "ok"]
    return Checked(
        decided=report["rows"],
        sent=report["sent"],
        ambiguous=report["ambiguous"],
        lost=_violations(bad, LOST),
        doubled=_violations(bad, DOUBLED),
        violated=[
            f"{check['invariant']} {check['what']} {check['status']} {check['violations']}: {check['says']} "
            f"{check['note']} {check['examples'][:3]}"
            for check in bad
        ],
    )


def _violations(bad: list[dict[str, Any]], names: set[tuple[str, str]]) -> int:
    return sum(check["violations"] for check in bad if (check["invariant"], check["what"]) in names)


def _write_journal(history: History, journal: Path) -> None:
    """The history as the journal of a replay: each id by its last word."""
    last: dict[str, dict[str, Any]] = {}
    for event in history.events():
        name: str = event.get("id", "")
        if event["event"] == "acknowledged":
            last[name] = {"id": name, "acked_ms": event["at_ms"]}
        elif event["event"] == "refused":
            last.setdefault(name, {"id": name, "rejected": "refused"})
    journal.write_text("".join(json.dumps(line) + "\n" for line in last.values()))
