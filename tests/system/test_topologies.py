"""The same roles on a pair under three sentinels and on a Cluster: the main job, and a day's traffic while a master
dies, a primary dies, or slots move to a node without our functions.
"""

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.system.failovers import FAULTS, struck, three, watched
from tests.system.house import House

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")]


def story(house: House, url: str) -> None:
    """`icaze up` on the store: an SMS is approved, its repeat on the same day refused, and the api sees the permit."""
    house.environ |= {"ICAZE_REDIS_URL": url}
    house.sink()
    up = house.start("up")
    port = up.door("ingest").rpartition(":")[2]

    def ask(text: str) -> dict[str, Any]:
        done = house.call("send", text, "--from", "+994501234567", "--json", ICAZE_INGEST_PORT=port)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    for number in range(1111111, 1111115):  # of partitions that lie on several nodes
        assert ask(f"2 AZE {number}")["verdict"] == "approved"
    assert ask("2 AZE 1111111")["reason"] == "quota"
    token = house.call("token", "--role", "mygov").stdout.strip()
    question = urllib.request.Request(  # noqa: S310
        up.door("api") + "/v1/status",
        data=b'{"document": "AZE1111111"}',
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
    )
    with urllib.request.urlopen(question, timeout=10) as answer:  # noqa: S310
        assert [permit["status"] for permit in json.loads(answer.read())["permits"]] == ["refused", "active"]
    up.stop()


@pytest.mark.parametrize("store", [three, watched])
def test_up_serves_the_main_job(house: House, store: Any, tmp_path: Path) -> None:
    with store(tmp_path / "s") as formed:
        story(house, formed.url)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_under_load_loses_and_repeats_nothing(fault: str, house: House, day: Path, tmp_path: Path) -> None:
    counts = struck(fault, house, day, tmp_path / "s")
    print(f"\n{fault}: {counts}")
