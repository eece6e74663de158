"""Locust's suite runs against a system of its own, and what it saw is told with the rest of the peak."""

import csv
import json
import subprocess
from pathlib import Path
from typing import Any

from tests.system.house import ICAZE, House

KINDS = {
    "ingest: one SMS",
    "ingest: a hundred SMS",
    "api: status",
    "api: checks",
    "XADD inbound",
    "XREADGROUP replies",
    "Aggregated",
}
WITHIN_S = 110


def test_all_users_of_locust_are_served_and_told(house: House, tmp_path: Path) -> None:
    load = ["--only", "burst", "--burst-seconds", "1", "--scale", "0.05", "--repeats", "1"]
    locust = ["--shape", "soak", "--shape-scale", "2", "--stretch", "0.004", "--readers", "0.1", "--processes", "2"]
    words = [*ICAZE, "bench", "peak", *load, *locust, "--json", "--folder", str(tmp_path)]
    done = subprocess.run(words, env=house.environ, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["conditions"]["locust"].startswith("shape soak, 2 processes")
    assert 0 < told["conditions"]["locust_busy"] < 2
    with (tmp_path / "locust" / "locust_stats.csv").open() as lines:
        seen = {row["Name"]: row for row in csv.DictReader(lines)}
    assert set(seen) == KINDS
    asked = {name: int(row["Request Count"]) for name, row in seen.items()}
    assert min(asked.values()) > 0
    assert {int(row["Failure Count"]) for row in seen.values()} == {0}
    assert told["figures"]["locust_aggregated_requests"] == asked["Aggregated"] == sum(asked.values()) / 2
    assert told["plots"][-1]["title"] == "Locust, soak: requests a second, all kinds"
    assert told["plots"][-1]["lines"]["requests"]
    assert "ingest: a hundred SMS" in (tmp_path / "locust" / "locust.html").read_text()
