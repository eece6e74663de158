"""`icaze token`: a development token for one of the roles that call the api.

Reads the development issuer's key (made where it is missing). Prints the token.
"""

import argparse
import sys
import time
from typing import Final

import msgspec

from api import dev_issuer
from runtime import settings
from runtime.errors import StartupError

SCOPES: Final = {
    "mygov": "status",
    "police": "checks",
    "officer": "permits.cancel permits.extend",
    "staff": "monitor explain",
    "organisation": "organisation",
}
"""What each role may do."""
MAX_MINUTES: Final = 527_040
"""A leap year: a development token for longer is a mistake."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("--role", choices=list(SCOPES), required=True, help="whose scopes the token carries")
    parser.add_argument("--subject", metavar="S", help="who calls (default: dev-<role>)")
    parser.add_argument("--minutes", type=_minutes, default=60, metavar="N", help="how long it holds (default 60)")
    parser.add_argument("--tin", metavar="T", help="tax number of the organisation; with --role organisation only")
    parser.add_argument("--json", action="store_true", help="print one JSON object: token, expires_at, scope")


def run(args: argparse.Namespace) -> int:
    """Prints a token; 1 where the key cannot be used, 2 where the arguments do not fit together."""
    if (args.role == "organisation") != bool(args.tin):
        sys.stderr.write("icaze token: --tin goes with --role organisation, and that role needs it\n")
        return 2
    try:
        issued = dev_issuer.issue(
            dev_issuer.key_pair(settings.load()),
            subject=args.subject or f"dev-{args.role}",
            scope=SCOPES[args.role],
            minutes=args.minutes,
            now_ms=time.time_ns() // 1_000_000,
            claims={"tin": args.tin} if args.tin else None,
        )
    except StartupError as error:
        sys.stderr.write(f"icaze token: {error}\n")
        return 1
    sys.stdout.write(f"{msgspec.json.encode(issued).decode() if args.json else issued.token}\n")
    return 0


def _minutes(text: str) -> int:
    minutes = int(text)
    if not 1 <= minutes <= MAX_MINUTES:
        raise argparse.ArgumentTypeError(f"must be 1 to {MAX_MINUTES}")
    return minutes
