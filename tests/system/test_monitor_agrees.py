"""The monitor against a recount: a launch day through real processes, and both count the same."""

import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from contextlib import aclosing
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from api.figures import VERDICT_OF
from lua import keys
from permits.calendar import day_name, local_day, rfc3339
from permits.outcomes import REASON_OF
from processor.verification import trail
from runtime.connection import connect
from tests.system.house import ICAZE, PARTITIONS, House, Running, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")

MESSAGES = 2000
REUSED = 25
UNREADABLE = 3
Counted = Counter[tuple[int | None, str, str | None]]


def launch_day(path: Path) -> None:
    """A launch day, and at its end ids that come again with other words."""
    words = ["day", "--messages", str(MESSAGES), "--seed", "5", "--mix", "launch", "-o", str(path)]
    subprocess.run([*ICAZE, *words], check=True, timeout=60)
    extra = [
        {"id": f"reused-{number}", "from": "+994501234567", "to": "8103", "text": text}
        for text in ("2 AZE 7654321", "1 AZE 7654321")
        for number in range(REUSED)
    ]
    with path.open("a") as day:
        day.writelines(json.dumps(sms) + "\n" for sms in extra)


def opened(house: House, api: str, path: str) -> HTTPResponse:
    token = house.call("token", "--role", "staff").stdout.strip()
    request = urllib.request.Request(api + path, headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    return urllib.request.urlopen(request, timeout=20)  # noqa: S310


def at_rest(house: House, api: str) -> dict[str, Any]:
    """What the monitor shows of a moment from now on at which nothing waits."""
    from_now = rfc3339(time.time_ns() // 1_000_000)

    def look() -> dict[str, Any] | None:
        with opened(house, api, "/v1/monitor") as answer:
            figures = json.loads(answer.read())
        lag = figures["lag"]
        return figures if figures["at"] >= from_now and not lag["undecided"] and not lag["unsent"] else None

    return until(look, "a monitor that shows rest")


async def plant_unreadable(url: str) -> None:
    """Entries that nobody can read, as a broken program would append them."""
    async with aclosing(connect(url)) as store:
        for number in range(UNREADABLE):
            await store.execute_command(
                "XADD", keys.partition_keys(keys.tags(PARTITIONS)[number]).inbound, "*", "m", "{"
            )


async def recounted(url: str) -> dict[str, Counted]:
    """Rows of the trail by (purpose, verdict, reason), for each Baku day of decision."""
    days: dict[str, Counted] = {}
    async with aclosing(connect(url)) as store:
        for tag in keys.tags(PARTITIONS):
            async for page in trail.pages(store, keys.partition_keys(tag).audit):
                for entry in page:
                    assert isinstance(entry, trail.AuditEntry)  # nothing is held here
                    name = day_name(local_day(entry.batch.decided_ms))
                    day = days.setdefault(f"{name[:4]}-{name[4:6]}-{name[6:]}", Counter())
                    for row, letter in zip(entry.batch.rows, entry.letters, strict=True):
                        day[row.purpose or None, VERDICT_OF[letter], REASON_OF.get(letter)] += 1
    return days


def by_verdict(counted: Counted) -> Counter[str]:
    verdicts: Counter[str] = Counter()
    for (_, verdict, _), times in counted.items():
        verdicts[verdict] += times
    return verdicts


@pytest.fixture
def up(house: House) -> Running:
    house.sink()
    return house.start("up")


def test_the_monitor_counts_what_verify_counts(house: House, up: Running, tmp_path: Path) -> None:
    day, api, store = tmp_path / "day", up.door("api"), up.door("store")
    launch_day(day)
    replay = house.replay(day, up.door("ingest"), rate=1000)
    asyncio.run(plant_unreadable(store))
    assert replay.ended(within_s=60) == 0, replay.errors()
    figures = at_rest(house, api)
    report = house.verify()
    days = asyncio.run(recounted(store))

    shown = Counter({(row["purpose"], row["verdict"], row["reason"]): row["count"] for row in figures["verdicts"]})
    assert shown == days[figures["day"]]
    verdicts, totals = by_verdict(shown), figures["totals"]
    assert totals["decided"] == verdicts["approved"] + verdicts["refused"] + verdicts["cancelled"]
    assert totals["dead"] == figures["lag"]["dead_letters"] == UNREADABLE
    assert totals["id_reused"] == REUSED
    assert {name: totals[name] for name in set(VERDICT_OF.values())} == {
        name: verdicts[name] for name in set(VERDICT_OF.values())
    }
    # What verify says of the whole trail is what the recount of all its days says: of one, but for a midnight.
    whole = sum(days.values(), Counter[tuple[int | None, str, str | None]]())
    assert report["rows"] == whole.total() == MESSAGES + 2 * REUSED + UNREADABLE
    assert report["approved"] == by_verdict(whole)["approved"]
    assert sum(report["refused"].values()) == by_verdict(whole)["refused"]


def test_a_stop_ends_the_streams_of_the_monitor_at_once(house: House, up: Running) -> None:
    with opened(house, up.door("api"), "/v1/monitor/events") as stream:
        assert stream.headers["Content-Type"] == "text/event-stream"
        lines = [stream.readline() for _ in range(5)]
        assert lines[0] == b"retry: 2000\n"
        assert lines[2].startswith(b"id: ")
        began_s = time.monotonic()
        up.stop()
        rest = stream.read()
    assert time.monotonic() - began_s < float(house.environ["ICAZE_DRAIN_S"]), "the stop waited for the stream"
    assert rest.endswith(b"\n\n")
