"""Schemathesis against the running role: nothing it can make of the description gets an answer that breaks it.

What is described is tested: a new operation needs nothing here.
"""

import json
import re
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from api import dev_issuer
from runtime.embedded import EmbeddedStore
from runtime.settings import Settings
from tests.system.house import House

STREAM: Final = "text/event-stream"
"""An operation that answers with a stream never ends: it has tests of its own."""
PERSON: Final = {"tin": "1234567890", "fin": "7ABCDE1", "acr": "urn:asan:imza"}
"""Claims of somebody who may act for the organisation of the description's example."""
EXAMPLES: Final = 25
SEED: Final = "8103"
"""A build says the same of the same code; other seeds are tried by hand."""
MOST_S: Final = 240
ROW: Final = {
    "fin": "5ABC12D",
    "document": "AZE1111111",
    "name": "Aynur Quliyeva",
    "valid_from": "2020-01-01",
    "valid_until": (datetime.now(UTC) + timedelta(days=30)).date().isoformat(),
}
# All checks are on. Three are told more statuses than they know by themselves:
# * What fits the description can still be refused: a document that is none (422), something that is not there (404),
#   is not in a state for it (409), has changed since (412), is as the
#   caller saw it (304), is not the caller's organisation (403), or is one question too many (429).
# * An If-Match or a media type outside the description has a status of its own (412, 413, 415, 428).
CHECKS: Final = """
[checks]
positive_data_acceptance.expected-statuses = ["2xx", 304, 403, 404, 409, 412, 422, 429]
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 412, 413, 415, 422, 428, 429]
missing_required_header.expected-statuses = [400, 401, 403, 406, 415, 422, 428]
"""


@pytest.mark.timeout(2 * MOST_S + 30)
@pytest.mark.usefixtures("redis")
def test_no_answer_breaks_the_description(house: House, server: EmbeddedStore) -> None:
    house.furnish()
    settings = {"ICAZE_REDIS_URL": server.url, "ICAZE_DURABILITY": "memory", "ICAZE_DEV_ISSUER": "true"}
    door = house.start("api", settings).door("api")
    with urllib.request.urlopen(f"{door}/openapi.json", timeout=10) as answer:  # noqa: S310
        operations = [each for methods in json.load(answer)["paths"].values() for each in methods.values()]
    bearer = token(house, operations)
    explore(house, door, operations, bearer, {})
    # Again with an organisation and a permit that stand: what lies behind the first 404.
    organisation = f"{door}/v1/organisations"
    posted(organisation, bearer, {"tin": PERSON["tin"], "name": "Günəş MMC"})
    permit = posted(f"{organisation}/{PERSON['tin']}/permits", bearer, ROW)
    explore(house, door, operations, bearer, {"path.tin": PERSON["tin"], "path.code": permit["code"]})


def explore(house: House, door: str, operations: list[dict[str, Any]], bearer: str, parameters: dict[str, str]) -> None:
    """Let schemathesis try all operations that end, with path variables as given."""
    config = house.folder / "schemathesis.toml"
    given = "".join(f'"{name}" = "{value}"\n' for name, value in parameters.items())
    headers = f'headers = {{ Authorization = "Bearer {bearer}" }}\n'
    config.write_text(f"{headers}[parameters]\n{given}{CHECKS}")
    streams = [
        word for each in operations if streamed(each) for word in ("--exclude-operation-id", each["operationId"])
    ]
    words = [
        "run",
        f"{door}/openapi.json",
        "--checks",
        "all",
        "--max-examples",
        str(EXAMPLES),
        "--seed",
        SEED,
        *streams,
    ]
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), *words, "--request-timeout", "10"],
        cwd=house.folder,
        env=house.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=MOST_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    assert re.search(rf"Tested: {len(operations) - len(streams) // 2}\n", done.stdout), done.stdout[-6000:]


def posted(url: str, bearer: str, body: dict[str, Any]) -> dict[str, Any]:
    """What a create answers."""
    headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json", "Idempotency-Key": "one"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return json.load(answer)


def token(house: House, operations: list[dict[str, Any]]) -> str:
    """A token with every scope that the description names."""
    scopes = {scope for each in operations for needed in each["security"] for scope in needed["bearer"]}
    return dev_issuer.issue(
        dev_issuer.key_pair(Settings(data_dir=str(house.data))),
        subject="schemathesis",
        scope=" ".join(sorted(scopes)),
        minutes=60,
        now_ms=time.time_ns() // 1_000_000,
        claims=PERSON,
    ).token


def streamed(operation: dict[str, Any]) -> bool:
    """Whether an operation answers with a stream."""
    return any(STREAM in answer.get("content", {}) for answer in operation["responses"].values())
