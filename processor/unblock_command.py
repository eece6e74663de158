"""`icaze unblock`: takes a document off a status list. Asks the api."""

import argparse

from processor.blocked_command import add_list, change


def configure(parser: argparse.ArgumentParser) -> None:
    """Which list, and why."""
    parser.description = "The document is read from standard input, the bearer token from ICAZE_TOKEN."
    add_list(parser)


def run(arguments: argparse.Namespace) -> int:
    """0, also where it did not stand there; StartupError with the reason where the api refuses."""
    return change("/v1/blocked/remove", arguments, {})
