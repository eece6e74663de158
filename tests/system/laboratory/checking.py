"""The checks over one history: programs of their own that were not part of the run, and their findings as numbers.

Reads what a run has left: history, operator's log, keys, logs, and the store at rest. `tests.system.checker` shares no
code with the product; `icaze verify` is the product's own, and must agree.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec

from tests.system.house import House
from tests.system.laboratory.history import History

PATIENCE_S: Final = 300
LOST: Final = {"I1 loss"}
DOUBLED: Final = {"I2 identities", "I3 entries", "I1 one place", "I4 quota"}
"""Of `icaze verify`; the checker's are whole invariants."""


class Checked(msgspec.Struct):
    """What the checks found."""

    decided: int = 0
    sent: int = 0
    ambiguous: int = 0
    lost: int = 0
    doubled: int = 0
    violated: list[str] = []
    """Every check that did not hold, in words."""
    broken: dict[str, list[str]] = {}
    """What the checker has found, line by line, by invariant."""
    unchecked: dict[str, str] = {}
    """Why the checker could not look at an invariant, or found nothing to look at."""
    looked: dict[str, int] = {}
    """Facts that the checker has looked at, by invariant."""


def checked(house: House, history: History, store: str, *, metrics: Sequence[Path], **files: Path) -> Checked:
    """Findings of both over the history; `store` is the address of a store at rest, `metrics` what its roles say.

    `files`: further evidence for the checker, by its argument's name.
    """
    found = Checked()
    _verify(found, house, history, store)
    check(found, house, history.path, store, metrics=metrics, **files)
    return found


def _verify(found: Checked, house: House, history: History, store: str) -> None:
    _write_journal(history, house.journal)
    words = ["--journal", str(house.journal), "--sink", str(house.sink_log), "--json"]
    done = _run(house, "-m", "icaze", "verify", *words, environ={"ICAZE_REDIS_URL": store})
    if done.returncode not in (0, 1):
        found.violated.append(f"icaze verify: {done.stderr[-500:]}")
        return
    report: dict[str, Any] = json.loads(done.stdout)
    found.decided, found.sent, found.ambiguous = report["rows"], report["sent"], report["ambiguous"]
    for check in report["checks"]:
        name = f"{check['invariant']} {check['what']}"
        found.lost += check["violations"] if name in LOST else 0
        found.doubled += check["violations"] if name in DOUBLED else 0
        if check["status"] != "ok":
            why = f"{check['says']} {check['note']} {check['examples'][:3]}"
            found.violated.append(f"{name} {check['status']} {check['violations']}: {why}")


def check(found: Checked, house: House, history: Path, store: str, *, metrics: Sequence[Path], **files: Path) -> None:
    """What the checker alone finds, added to what was found."""
    words = ["--redis", store, "--history", str(history), "--sink", str(house.sink_log), "--json"]
    words += ["--examples", str(sys.maxsize), "--keys", str(house.data / "keys"), "--logs", str(house.logs)]
    words += ["--metrics", *map(str, metrics)] if metrics else []
    words += [word for name, file in files.items() for word in (f"--{name}", str(file))]
    done = _run(house, "-m", "tests.system.checker", *words)
    if done.returncode not in (0, 1):
        found.violated.append(f"the checker: {done.stderr[-500:]}")
        return
    by_name: dict[str, dict[str, Any]] = {said["invariant"]: said for said in json.loads(done.stdout)["findings"]}
    found.broken = {name: said["examples"] for name, said in by_name.items()}
    found.unchecked = {name: said["why"] for name, said in by_name.items() if said["status"] == "not checked"}
    found.looked = {name: said["looked"] for name, said in by_name.items()}
    if not found.lost and not found.doubled:  # its I1 counts both
        found.lost = by_name["I1"]["broken"]
        found.doubled = by_name["I2"]["broken"] + by_name["I3"]["broken"]
    found.violated += [
        f"checker {name}: {said['broken']} of {said['looked']}: {said['says']} {said['examples'][:3]}"
        for name, said in by_name.items()
        if said["status"] == "broken"
    ]


def _run(
    house: House, *words: str, environ: Mapping[str, str] = MappingProxyType({})
) -> "subprocess.CompletedProcess[str]":
    """A program in the house's environment, to its end."""
    return subprocess.run(
        [sys.executable, *words],
        env={**house.environ, **environ},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


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
