"""`icaze policy`: checks a policy file, shows and compares rules, and puts stored ones forward.

Reads policy files and, for stored versions, `policies:{p}`; proposes and confirms through the api alone.
"""

import argparse
import re
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from permits.calendar import BAKU, rfc3339
from permits.policy import DEFAULT_FILE, Policy, PolicyError, load
from permits.policy_diff import differences
from permits.regimes import Hours, Regime
from permits.versions import Version, read
from processor import rules_remote, rules_stored
from runtime import settings

VERSION: Final = re.compile(r"p[1-9][0-9]*-[0-9a-f]{8}")
WHAT: Final = "a policy file, or the name of a stored version"


class NoVersionError(Exception):
    """The store has no such version."""


def configure(parser: argparse.ArgumentParser) -> None:
    """One action a line of the help."""
    actions = parser.add_subparsers(dest="action", required=True)

    def action(name: str, summary: str) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=summary, description=summary)
        added.add_argument("--json", action="store_true", help="print JSON")
        return added

    file = "default: ICAZE_POLICY_FILE, else the built-in rules"
    action("check", "say whether a file can be used").add_argument("what", metavar="FILE", nargs="?", help=file)
    show = action("show", "print the rules in force")
    show.add_argument("what", metavar="FILE", nargs="?", help=f"{WHAT}; {file}")
    show.add_argument("--at", metavar="TIME", help="RFC 3339; without a zone Asia/Baku (default: now)")
    show.add_argument("--stored", action="store_true", help="the version of the store that was confirmed last")
    diff = action("diff", "what B says otherwise than A")
    diff.add_argument("a", metavar="A", help=WHAT)
    diff.add_argument("b", metavar="B", help=WHAT)
    action("list", "the versions in the store, oldest first")
    remote = " through the running api, by the bearer token in ICAZE_TOKEN"
    action("propose", f"propose a file{remote}").add_argument("what", metavar="FILE")
    action("confirm", f"confirm what somebody else has proposed{remote}").add_argument("what", metavar="VERSION")


def run(arguments: argparse.Namespace) -> int:
    """0; 1 with the reason where something cannot be used; 2 for a time that is none."""
    try:
        return _ACTIONS[arguments.action](arguments)
    except (PolicyError, NoVersionError) as error:
        print(f"icaze policy: {error}", file=sys.stderr)
        return 1


def _check(arguments: argparse.Namespace) -> int:
    path = _file(arguments.what)
    policy = load(path)
    facts = {"file": str(path), "version": policy.version, "regimes": [r.name for r in policy.regimes]}
    said = f"{path}: ok, version {policy.version}, {len(policy.regimes)} regime(s)"
    _print(facts, as_json=arguments.json, shown=said)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    at_ms = time.time_ns() // 1_000_000
    if arguments.at:
        try:
            moment = datetime.fromisoformat(arguments.at)
        except ValueError:
            print(f"icaze policy: --at {arguments.at!r} is no RFC 3339 time", file=sys.stderr)
            return 2
        at_ms = int((moment if moment.tzinfo else moment.replace(tzinfo=BAKU)).timestamp() * 1000)
    policy = _stored(None) if arguments.stored else _policy(arguments.what)
    regime = policy.at(at_ms)
    _print(msgspec.to_builtins(regime), as_json=arguments.json, shown=_shown(regime))
    return 0


def _diff(arguments: argparse.Namespace) -> int:
    found = differences(_policy(arguments.a), _policy(arguments.b))
    lines = [f"{one.where}: {one.before or '(none)'} -> {one.after or '(none)'}" for one in found]
    _print(found, as_json=arguments.json, shown="\n".join(lines) or "no difference")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    book = rules_stored.book()
    found = [_told(version) for version in book.versions.values()]
    lines = [
        f"{one['version']}  {one['state']}  {'from ' + one['starts'] if one['starts'] else 'changes nothing'}, "
        f"proposed by {one['proposed_by']} {one['proposed_at']}"
        + (f", {one['state']} by {one['settled_by']} {one['settled_at']}" if one["settled_by"] else "")
        for one in found
    ]
    _print(found, as_json=arguments.json, shown="\n".join(lines) or "no version: the policy file holds")
    return 0


def _propose(arguments: argparse.Namespace) -> int:
    path = Path(arguments.what)
    load(path)  # what is none is told before anybody is asked
    return rules_remote.propose(path.read_bytes(), as_json=arguments.json)


def _confirm(arguments: argparse.Namespace) -> int:
    if not VERSION.fullmatch(arguments.what):
        raise NoVersionError(f"{arguments.what!r} is no version; `icaze policy list` names them")
    return rules_remote.confirm(arguments.what, as_json=arguments.json)


_ACTIONS: Final = {
    "check": _check,
    "show": _show,
    "diff": _diff,
    "list": _list,
    "propose": _propose,
    "confirm": _confirm,
}


def _file(what: str | None) -> Path:
    return Path(what or settings.load().policy_file or DEFAULT_FILE)


def _policy(what: str | None) -> Policy:
    """Of a file, or of a version in the store where no such file stands."""
    path = _file(what)
    return _stored(path.name) if VERSION.fullmatch(str(path)) and not path.exists() else load(path)


def _stored(name: str | None) -> Policy:
    """A version of the store; without a name the one confirmed last."""
    book = rules_stored.book()
    if name is None:
        if book.latest is None:
            raise NoVersionError("the store has no confirmed version: the policy file holds")
        return book.latest
    if name not in book.versions:
        raise NoVersionError(f"neither a file nor a stored version: {name}; `icaze policy list` names them")
    return read(name, book.versions[name].proposed.text)


def _print(facts: Any, *, as_json: bool, shown: str) -> None:
    print(msgspec.json.encode(facts).decode() if as_json else shown)


def _told(version: Version) -> dict[str, str | None]:
    """As the api tells of it."""
    proposed, settled = version.proposed, version.settled
    return {
        "version": proposed.version,
        "state": version.state,
        "starts": rfc3339(proposed.starts_ms) if proposed.starts_ms else None,
        "proposed_by": proposed.actor,
        "proposed_at": rfc3339(proposed.at_ms),
        "settled_by": None if settled is None else settled.actor,
        "settled_at": None if settled is None else rfc3339(settled.at_ms),
    }


def _shown(regime: Regime) -> str:
    until = f" until {regime.until.isoformat()}" if regime.until else ""
    lines = [f"regime {regime.name}, from {regime.start.isoformat()}{until}"]
    if regime.off:
        lines.append("  nobody needs a permit")
    if regime.zones:
        lines.append(f"  in {', '.join(regime.zones)} only")
    if regime.curfew:
        lines.append(f"  a permit is needed {_hours(regime.curfew)}")
    for purpose in regime.purposes:
        length = f"{purpose.minutes} min" if purpose.minutes else f"no end, honoured {purpose.honoured_days} days"
        quota = f"{purpose.per_day} a day" if purpose.per_day else "no limit a day"
        zone = f", {purpose.zone['en']}" if purpose.zone else ""
        hours = f", asked for {_hours(purpose.hours)}" if purpose.hours else ""
        lines.append(f"  {purpose.code}  {purpose.names['en']}: {length}, {quota}{zone}{hours}")
    if regime.cancel_word is not None:
        lines.append(f"  cancelled by SMS with {regime.cancel_word}")
    lines += [f"  after {_codes(rule.after)} no {_codes(rule.no)}" for rule in regime.rules]
    lines += [f"  documents on {bar.list}: no {_codes(bar.purposes) or 'permit'}" for bar in regime.barred]
    return "\n".join(lines)


def _hours(hours: Hours) -> str:
    return f"{hours.start:%H:%M}-{hours.until:%H:%M}"


def _codes(codes: tuple[int, ...]) -> str:
    return ", ".join(map(str, codes))
