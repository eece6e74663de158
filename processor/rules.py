"""`icaze policy`: checks a policy file, and shows the rules in force at a time."""

import argparse
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from permits.calendar import BAKU
from permits.policy import DEFAULT_FILE, PolicyError, Regime, load
from runtime import settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Two actions on one file."""
    actions = parser.add_subparsers(dest="action", required=True)
    for name, summary in (("check", "say whether the file can be used"), ("show", "print the rules in force")):
        action = actions.add_parser(name, help=summary, description=summary)
        action.add_argument(
            "file", metavar="FILE", nargs="?", help="default: ICAZE_POLICY_FILE, else the built-in rules"
        )
        action.add_argument("--json", action="store_true", help="print JSON")
        if name == "show":
            action.add_argument("--at", metavar="TIME", help="RFC 3339; without a zone Asia/Baku (default: now)")


def run(arguments: argparse.Namespace) -> int:
    """0; 1 with the reason where the file cannot be used; 2 for a time that is none."""
    path = Path(arguments.file or settings.load().policy_file or DEFAULT_FILE)
    try:
        policy = load(path)
    except PolicyError as error:
        print(f"icaze policy: {error}", file=sys.stderr)
        return 1
    if arguments.action == "check":
        facts = {"file": str(path), "version": policy.version, "regimes": [r.name for r in policy.regimes]}
        _print(
            facts,
            as_json=arguments.json,
            shown=f"{path}: ok, version {policy.version}, {len(policy.regimes)} regime(s)",
        )
        return 0
    at_ms = time.time_ns() // 1_000_000
    if arguments.at:
        try:
            moment = datetime.fromisoformat(arguments.at)
        except ValueError:
            print(f"icaze policy: --at {arguments.at!r} is no RFC 3339 time", file=sys.stderr)
            return 2
        at_ms = int((moment if moment.tzinfo else moment.replace(tzinfo=BAKU)).timestamp() * 1000)
    regime = policy.at(at_ms)
    _print(msgspec.to_builtins(regime), as_json=arguments.json, shown=_shown(regime))
    return 0


def _print(facts: Any, *, as_json: bool, shown: str) -> None:
    print(msgspec.json.encode(facts).decode() if as_json else shown)


def _shown(regime: Regime) -> str:
    lines = [f"regime {regime.name}, from {regime.start.isoformat()}"]
    for purpose in regime.purposes:
        length = f"{purpose.minutes} min" if purpose.minutes else f"no end, honoured {purpose.honoured_days} days"
        quota = f"{purpose.per_day} a day" if purpose.per_day else "no limit a day"
        zone = f", {purpose.zone['en']}" if purpose.zone else ""
        lines.append(f"  {purpose.code}  {purpose.names['en']}: {length}, {quota}{zone}")
    return "\n".join(lines)
