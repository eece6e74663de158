"""Command-line arguments that measurements share: what cannot be measured is refused before anything starts."""

import argparse
from typing import Any

from bench.author import MIXES
from bench.measurement import PARTITIONS


def of_backlog(parser: argparse.ArgumentParser, *, messages: int, repeats: int = 3) -> None:
    """What every measurement of a backlog takes."""
    parser.add_argument("--messages", type=positive, default=messages, help="SMS drained (default %(default)s)")
    parser.add_argument("--mix", choices=sorted(MIXES), default="launch", help="of the SMS (default %(default)s)")
    parser.add_argument("--partitions", type=positive, default=PARTITIONS, help="of the store (default %(default)s)")
    parser.add_argument("--repeats", type=positive, default=repeats, help="medians are told (default %(default)s)")
    parser.add_argument("--seed", type=int, default=8103, help="of the SMS (default %(default)s)")


def backlog_conditions(arguments: argparse.Namespace) -> dict[str, Any]:
    """What a measurement of a backlog tells of them."""
    return {name: getattr(arguments, name) for name in ("messages", "mix", "partitions", "repeats")}


def positive(text: str) -> int:
    """A whole number above zero."""
    number = int(text)
    if number <= 0:
        raise argparse.ArgumentTypeError("must be above zero")
    return number


def positive_number(text: str) -> float:
    """A number above zero."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be above zero")
    return number
