"""`icaze block`: puts a document on a status list, or moves its times there. Asks the api."""

import argparse

import msgspec

from processor import asking


def configure(parser: argparse.ArgumentParser) -> None:
    """Which list, until when, and why."""
    parser.description = "The document is read from standard input, the bearer token from ICAZE_TOKEN."
    add_list(parser)
    parser.add_argument(
        "--from", dest="start", metavar="T", help="time with its zone, or a date in Baku (default: now)"
    )
    parser.add_argument("--until", metavar="T", help="time with its zone, or a date in Baku, its end (default: no end)")


def add_list(parser: argparse.ArgumentParser) -> None:
    """The flags of every change of a list."""
    parser.add_argument("--list", required=True, metavar="NAME", help="as the rules name it, for example infected")
    parser.add_argument("--reason", required=True, help="for the audit: never a name or a number of a person")
    parser.add_argument("--json", action="store_true", help="print the api's answer")


def run(arguments: argparse.Namespace) -> int:
    """0, also where it stood so already; StartupError with the reason where the api refuses."""
    times = {"from": arguments.start, "until": arguments.until}
    return change("/v1/blocked", arguments, {name: text for name, text in times.items() if text is not None})


def change(path: str, arguments: argparse.Namespace, times: dict[str, str]) -> int:
    """Asks for one change and prints what it came to."""
    body = {"document": asking.document(), "list": arguments.list, "reason": arguments.reason} | times
    answer = asking.ask(path, body)
    found = msgspec.json.decode(answer)
    place = found["place"]
    words = (
        "not on the list" if place is None else f"{place['list']} from {place['from']} to {place['until'] or 'no end'}"
    )
    print(answer.decode() if arguments.json else f"{'changed' if found['changed'] else 'unchanged'}: {words}")
    return 0
