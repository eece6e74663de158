"""`icaze explain --document`: what happened to a document lately, as staff may tell its owner. Asks the api."""

import sys
from typing import Any

import msgspec

from processor import asking


def explain_document(*, as_json: bool) -> int:
    """Prints the history of the document on standard input; 0, or StartupError with the reason."""
    answer = asking.ask("/v1/histories", {"document": asking.document()})
    sys.stdout.write(f"{answer.decode() if as_json else shown(msgspec.json.decode(answer))}\n")
    return 0


def shown(history: dict[str, Any]) -> str:
    """The api's answer for people, newest first."""
    requests, phones = history["requests_today"], history["phones_today"]
    lines = [f"today: {_of(requests)} requests, by {_of(phones)} phones"]
    refusals = history["refusals_within_the_hour"]
    if refusals["limit"] is not None:
        lines.append(
            f"within the hour: {refusals['used']} refusals to one phone, of which {refusals['limit']} get a reply"
        )
    lines += [f"on the list {place_shown(place)}" for place in history["lists"]]
    lines += [
        f"permit {permit['code']} in force until {permit['valid_until'] or 'no end'}" for permit in history["permits"]
    ]
    lines += [
        f"{entry['decided_at']}  phone {entry['phone']}  purpose {entry['purpose'] or '-'}  "
        f"{entry['verdict']}{f' ({told})' if (told := entry['reason'] or entry['permit']) else ''}"
        for entry in history["decisions"]
    ]
    return "\n".join(lines if history["decisions"] else [*lines, "nobody has asked for this document lately"])


def place_shown(place: dict[str, str | None]) -> str:
    """A place on a list, in a line."""
    return f"{place['list']} from {place['from']} to {place['until'] or 'no end'}"


def _of(used: dict[str, int | None]) -> str:
    return f"{used['used']}" if used["limit"] is None else f"{used['used']} of {used['limit']}"
