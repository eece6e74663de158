"""`icaze explain`: how a text reads under the rules in force now, or what happened to a document; changes nothing."""

import argparse
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from permits.cancel_word import asks_to_cancel
from permits.policy import Policy, PolicyError
from permits.policy import load as load_policy
from permits.sms import read
from runtime import settings
from runtime.errors import StartupError


def configure(parser: argparse.ArgumentParser) -> None:
    """A text, or many on standard input; or a document there."""
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("text", metavar="TEXT", nargs="?", help="the SMS")
    given.add_argument("--stdin", action="store_true", help='NDJSON {"text": ...} on standard input, a line each')
    given.add_argument(
        "--document",
        action="store_true",
        help="what happened lately to the document on standard input; asks the api with the token in ICAZE_TOKEN",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """0; 2 where a line of standard input cannot be used."""
    if arguments.document:
        from processor.history import explain_document  # which loads what a text does not need

        return explain_document(as_json=arguments.json)
    current = settings.load()
    try:
        policy = load_policy(Path(current.policy_file)) if current.policy_file else load_policy()
    except PolicyError as error:
        raise StartupError(str(error)) from None
    if arguments.stdin:
        return _lines(policy, sys.stdin.buffer)
    found = explain(policy, arguments.text, time.time_ns() // 1_000_000)
    if arguments.json:
        print(msgspec.json.encode(found).decode())
    elif "refused" in found:
        print(f"refused: {found['refused']}")
    elif "cancels" in found:
        print(f"cancels a permit of document {found['cancels']}, purpose {found['purpose'] or 'any'}")
    else:
        print(f"purpose {found['purpose']}, document {found['document']}")
    return 0


def explain(policy: Policy, text: str, at_ms: int) -> dict[str, Any]:
    """`{"purpose", "document"}`, of a text with the cancel word `{"cancels": document, "purpose"}` (null: of any), or
    `{"refused": reason}`."""
    reading = read(text)
    regime = policy.at(at_ms)
    reason = policy.refuses(regime, reading, asked_ms=at_ms, now_ms=at_ms)
    if regime.cancel_word is not None and asks_to_cancel(regime.cancel_word, text, reading, reason):
        return {"cancels": reading.document, "purpose": reading.purpose}
    if reason is not None:
        return {"refused": reason}
    return {"purpose": reading.purpose, "document": reading.document}


class _Line(msgspec.Struct):
    text: str


def _lines(policy: Policy, lines: Iterable[bytes]) -> int:
    decoder = msgspec.json.Decoder(_Line)
    at_ms = time.time_ns() // 1_000_000
    write = sys.stdout.buffer.write
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            text = decoder.decode(line).text
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            sys.stdout.buffer.flush()
            print(f"icaze explain: line {number}: {error}", file=sys.stderr)
            return 2
        write(msgspec.json.encode(explain(policy, text, at_ms)) + b"\n")
    sys.stdout.buffer.flush()
    return 0
