"""The page of measurements in a real browser: everything is drawn, and fits a desk's screen and a phone's."""

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bench import report
from bench.measurement import Measurement, Target, conditions
from tests.browser.browser import CHROMIUM, browsed

pytestmark = pytest.mark.skipif(CHROMIUM is None and not os.environ.get("CI"), reason="no chromium on PATH")

LOOK = """<script>
const outside = [...document.querySelectorAll("svg text, svg rect, svg path, svg circle")].filter(one => {
  const own = one.getBoundingClientRect(), all = one.closest("svg").getBoundingClientRect();
  return own.left < all.left - 2 || own.right > all.right + 2 || own.top < all.top - 2 || own.bottom > all.bottom + 2;
}).map(one => one.outerHTML);
const empty = [...document.querySelectorAll("svg")].filter(one => one.getBoundingClientRect().height < 10).length;
const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
document.body.dataset.seen = JSON.stringify({outside, empty, wide, drawings: document.querySelectorAll("svg").length});
</script>"""


def measured() -> list[Measurement]:
    """One plot of every kind, with long names and large numbers."""
    time = {"kind": "lines", "x": "seconds from the first decision", "y": "SMS/s"}
    rate = {"title": "rate", **time, "lines": {"pushed": [(0, 0), (60, 123_456)], "told": [(0, 50_000), (60, 1)]}}
    waits = [(0.0, 0.4), (0.5, 2.0), (0.99, 30.0), (0.999, 400.0), (1.0, 12_000.0)]
    sizes = [(100_000, 17.2), (1_000_000, 23.9), (10_000_000, 22.8)]
    return [
        Measurement(
            measurement="drain",
            conditions=conditions(messages=100_000, mix="launch", generator_busy=0.03, rounds=[{"drain_per_s": 1}] * 9),
            figures={
                "drain_per_s": 48_726,
                "worker_us": 20.3,
                "server_us": 13.6,
                "state_bytes": 68,
                "worker_busy": 0.99,
            },
            references={"naive_script_per_s": 97_024, "own_limit_per_s": 128_895},
            ratios={"naive_script": 0.5, "own_limit": 0.38},
            targets={"naive_script": Target(1.05, 1.5), "worker_us": Target(9, 5), "peer_faststream": Target(3, 4.5)},
            plots=[
                rate,
                {"title": "waits", "kind": "percentiles", "x": "share of all", "y": "ms", "lines": {"ack": waits}},
                {"title": "cost", "kind": "sizes", "x": "documents", "y": "µs", "lines": {"server": sizes}},
                {"title": "commands", "kind": "bars", "y": "µs", "bars": {"fcall": 13.5, "xrange": 0.4}},
                {
                    "title": "worker",
                    "kind": "stacks",
                    "stacks": {"run (lane.py);read (sms.py)": 60, "run (lane.py)": 40},
                },
            ],
        )
    ]


@pytest.mark.parametrize("width", [1280, 500])
async def test_everything_is_drawn_within_its_frame_and_the_page_within_the_screen(tmp_path: Path, width: int) -> None:
    at = tmp_path / "report.html"
    at.write_text(report.page(measured(), title="measured", made=datetime(2026, 1, 1, tzinfo=UTC)) + LOOK)
    page, console = await browsed(at.as_uri(), tmp_path / "profile", width=width)
    assert console == ""
    found = re.search(r'data-seen="([^"]+)"', page)
    assert found
    seen: dict[str, Any] = json.loads(found[1].replace("&quot;", '"'))
    assert seen["outside"] == []
    assert (seen["empty"], seen["wide"]) == (0, 0)
    assert seen["drawings"] == 10
