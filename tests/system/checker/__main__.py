"""`python -m tests.system.checker`: looks at I1 to I12 of a house at rest, and says what it found.

Exit 0: none is broken; 1: one is; 2: something could not be read.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Final

from redis.exceptions import RedisError

from tests.system.checker import (
    acceptance,
    accounts,
    acts,
    clients,
    growth,
    layout,
    privacy,
    quota,
    replay,
    shown,
    told,
    trail,
)
from tests.system.checker.evidence import Evidence
from tests.system.checker.finding import MOST_EXAMPLES, Finding
from tests.system.checker.rules import Rules
from tests.system.checker.store import Names, store_of

POLICY: Final = Path("permits/policy.toml")
HOUR_S: Final = 3600
CHECKS: Final = (
    acceptance.acknowledged,
    acceptance.identities,
    acceptance.workers,
    told.replies,
    told.statuses,
    quota.permits,
    replay.replayed,
    accounts.accounts,
    shown.shown,
    acts.authority,
    growth.growth,
    privacy.privacy,
)


def check(evidence: Evidence) -> list[Finding]:
    """All findings, in order."""
    return sorted((look(evidence) for look in CHECKS), key=lambda finding: int(finding.invariant[1:]))


def gather(args: argparse.Namespace) -> Evidence:
    """Reads all that is looked at; Raises what its parts raise."""
    store = store_of(args.redis)
    of = layout.layout(store.string("layout"))
    return Evidence(
        store=store,
        layout=of,
        names=Names(store),
        trail=trail.read(store, of),
        history=clients.history(args.history),
        sent=None if args.sink is None else clients.sent(args.sink),
        rules=Rules(args.policy),
        hashes=None if args.keys is None else layout.Hashes(args.keys, of),
        logs=args.logs,
        metrics=tuple(args.metrics),
        within_s=args.within,
        baseline=args.baseline,
        taken=None if args.ministry is None else clients.taken(args.ministry),
    )


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(prog="python -m tests.system.checker", description="Looks at I1 to I12.")
    made.add_argument("--redis", required=True, metavar="URL", help="the store, at rest")
    made.add_argument("--history", type=Path, metavar="FILE", help="NDJSON of what clients saw")
    made.add_argument("--sink", type=Path, metavar="FILE", help="the operator's log")
    made.add_argument("--ministry", type=Path, metavar="FILE", help="the Ministry's log")
    made.add_argument("--keys", type=Path, metavar="DIR", help="where routing.key lies")
    made.add_argument("--policy", type=Path, default=POLICY, metavar="FILE", help="default %(default)s")
    made.add_argument("--logs", type=Path, metavar="DIR", help="logs of the house's programs")
    made.add_argument("--metrics", type=Path, nargs="*", default=[], metavar="FILE", help="what /metrics said")
    made.add_argument(
        "--within", type=float, default=HOUR_S, metavar="S", help="for an answer (default: the legal hour)"
    )
    made.add_argument("--baseline", type=Path, metavar="FILE", help="what --snapshot wrote of the same house earlier")
    made.add_argument("--snapshot", type=Path, metavar="FILE", help="write what stands now, for --baseline; no checks")
    made.add_argument("--examples", type=int, default=MOST_EXAMPLES, metavar="N", help="in the JSON, of each at most")
    made.add_argument("--json", action="store_true", help="the findings as JSON")
    return made


def main(words: list[str] | None = None) -> int:
    """Runs the checker; returns the exit code."""
    args = parser().parse_args(words)
    if args.history is None and args.snapshot is None:
        parser().error("--history is needed, or --snapshot")
    try:
        if args.snapshot is not None:
            store = store_of(args.redis)
            args.snapshot.write_text(json.dumps(growth.snapshot(store, Names(store))))
            return 0
        findings = check(gather(args))
    except (RedisError, OSError, ValueError, KeyError) as error:
        print(f"checker: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(
            json.dumps(
                {"ok": not any(f.broken for f in findings), "findings": [f.told(args.examples) for f in findings]}
            )
        )
    else:
        for finding in findings:
            _print(finding)
    return int(any(finding.broken for finding in findings))


def _print(finding: Finding) -> None:
    said = finding.told()
    count = f" {said['broken']} of" if said["broken"] else ""
    print(
        f"{finding.invariant:4}{finding.status:12}{count} {finding.looked} facts: {finding.says} {said['why']}".rstrip()
    )
    for note in finding.notes:
        print(f"      ({note})")
    for example in finding.broken[:MOST_EXAMPLES]:
        print(f"      {example}")


if __name__ == "__main__":
    raise SystemExit(main())
