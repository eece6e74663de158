"""`icaze token`: a development token for one of the roles that call the api.

Reads the development issuer's key (made where it is missing). Prints the token.
"""

import argparse
import sys
import time
from typing import Final

import msgspec

from api import dev_issuer
from api.tokens import TIN
from permits import fin
from permits.documents import canonical
from runtime import settings
from runtime.errors import StartupError

SCOPES: Final = {
    "mygov": "status",
    "police": "checks",
    "officer": "permits.cancel permits.extend",
    "staff": "monitor lists histories",
    "health": "lists",
    "regime": "regime",
    "policy": "policy",
    "organisation": "organisation",
    "citizen": "me",
}
"""What each role may do."""
_ACRS: Final = {"imza": "urn:asan:imza", "esign": "urn:asan:esign"}
"""How a person has proven who they are."""
_CLAIMS: Final = {"organisation": ("tin", "fin", "acr"), "citizen": ("fin", "documents")}
"""Which flags a role takes beside the usual ones; each is a claim of its token."""
MAX_MINUTES: Final = 527_040
"""A leap year: a development token for longer is a mistake."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("--role", choices=list(SCOPES), required=True, help="whose scopes the token carries")
    parser.add_argument("--subject", metavar="S", help="who calls (default: dev-<role>)")
    parser.add_argument("--minutes", type=_minutes, default=60, metavar="N", help="how long it holds (default 60)")
    parser.add_argument("--tin", type=_tin, metavar="T", help="tax number whose seal an organisation's person carries")
    parser.add_argument("--fin", type=_fin, metavar="F", help="personal code of an organisation's person, or a citizen")
    parser.add_argument("--acr", choices=list(_ACRS), help="how that person logged in: ASAN İmza or e-signature")
    parser.add_argument(
        "--document",
        dest="documents",
        type=_document,
        action="append",
        metavar="D",
        help="a citizen's document; as often as needed",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object: token, expires_at, scope")


def run(args: argparse.Namespace) -> int:
    """Prints a token; 1 where the key cannot be used, 2 where the arguments do not fit together."""
    names = {name for role in _CLAIMS.values() for name in role}
    claims = {name: value for name in names if (value := getattr(args, name)) is not None}
    if not claims.keys() <= set(_CLAIMS.get(args.role, ())):
        sys.stderr.write(
            "icaze token: --tin and --acr go with organisation, --document with citizen, --fin with both\n"
        )
        return 2
    if args.role == "organisation" and not claims.keys() & {"tin", "fin"}:
        sys.stderr.write("icaze token: --role organisation needs --tin, --fin or both (a delegate has no --tin)\n")
        return 2
    if "acr" in claims:
        claims["acr"] = _ACRS[claims["acr"]]
    try:
        issued = dev_issuer.issue(
            dev_issuer.key_pair(settings.load()),
            subject=args.subject or f"dev-{args.role}",
            scope=SCOPES[args.role],
            minutes=args.minutes,
            now_ms=time.time_ns() // 1_000_000,
            claims=claims,
        )
    except StartupError as error:
        sys.stderr.write(f"icaze token: {error}\n")
        return 1
    sys.stdout.write(f"{msgspec.json.encode(issued).decode() if args.json else issued.token}\n")
    return 0


def _minutes(text: str) -> int:
    minutes = int(text) if text.isdecimal() else 0
    if not 1 <= minutes <= MAX_MINUTES:
        raise argparse.ArgumentTypeError(f"must be 1 to {MAX_MINUTES}")
    return minutes


def _tin(text: str) -> str:
    if not TIN.fullmatch(text):
        raise argparse.ArgumentTypeError("must be 10 digits")
    return text


def _fin(text: str) -> str:
    found = fin.canonical(text)
    if found is None:
        raise argparse.ArgumentTypeError("must be 7 letters and digits, without I and O")
    return found


def _document(text: str) -> str:
    found = canonical(text)
    if found is None:
        raise argparse.ArgumentTypeError("must be one document number")
    return found
