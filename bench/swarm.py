"""Locust's suite against a system of its own: started, watched, and told with the rest of a measurement.

Writes Locust's HTML report and its CSV files into a folder.
"""

import argparse
import csv
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from bench.api_house import ApiHouse, opened
from bench.arguments import positive, positive_number
from bench.machine import OwnTime
from bench.measurement import Measurement
from bench.posts import settings
from bench.shapes import SHAPES
from bench.whole_path import settings_of, sink

FILE: Final = Path(__file__).with_name("locustfile.py")
NONE: Final = "none"
CLIENTS: Final = 4
"""Of each role: more than one, so that the budget of none is spent."""
FAILED: Final = 1
"""Locust's exit code where some requests failed; what they were stands in its CSV."""


def installed() -> bool:
    """Whether Locust is there; it is not imported."""
    return importlib.util.find_spec("locust") is not None


def configure(parser: argparse.ArgumentParser) -> None:
    """Which shapes, how large."""
    told = "; ".join(f"{name}: {shape.about}" for name, shape in SHAPES.items())
    parser.add_argument(
        "--shape",
        choices=(*SHAPES, NONE),
        default="n1" if installed() else NONE,
        help=f"of Locust's users. {told} (default n1, without Locust {NONE})",
    )
    parser.add_argument("--shape-scale", type=positive_number, default=1.0, help="times the shape's rates (default 1)")
    parser.add_argument("--stretch", type=positive_number, default=1.0, help="times the shape's length (default 1)")
    parser.add_argument(
        "--readers", type=positive_number, default=1.0, help="times the questions to the api (default 1)"
    )
    parser.add_argument("--processes", type=positive, default=2, help="of Locust (default %(default)s)")


def add(measured: Measurement, arguments: argparse.Namespace, folder: Path) -> None:
    """Run the suite, and add what Locust saw to a measurement."""
    if arguments.shape == NONE:
        return
    if not installed():
        raise SystemExit("peak: Locust is not installed; `make install` installs it, `--shape none` does without")
    at = folder / "locust"
    at.mkdir(exist_ok=True)
    with sink(at) as operator, opened(at, settings_of(at, operator) | settings(at)) as house:
        words, environ, own = _words(arguments, house, at), _environ(house), OwnTime()
        # standard output is the measurement's own
        code = subprocess.run(words, env=environ, stdout=sys.stderr, check=False).returncode
        busy = own.busy
    if code not in (0, FAILED):
        raise SystemExit(f"peak: locust ended with {code}")
    told = f"shape {arguments.shape}, {arguments.processes} processes"
    measured.conditions["locust"] = f"{told}; its users wait for their answers, and its times are rounded"
    measured.conditions["locust_busy"] = round(busy, 3)
    measured.figures |= read_stats((at / "locust_stats.csv").read_text())
    measured.plots.append(_over_time((at / "locust_stats_history.csv").read_text(), arguments.shape))


def read_stats(text: str) -> dict[str, float]:
    """Figures of each kind of request, and of all, from Locust's CSV."""
    figures: dict[str, float] = {}
    for row in csv.DictReader(text.splitlines()):
        name = "locust_" + "".join(c if c.isalnum() else "_" for c in row["Name"].lower()).replace("__", "_")
        figures |= {
            f"{name}_requests": int(row["Request Count"]),
            f"{name}_failed": int(row["Failure Count"]),
            f"{name}_per_s": round(float(row["Requests/s"]), 1),
            f"{name}_p99_ms": float(row["99%"]) if row["99%"] != "N/A" else 0.0,
        }
    return figures


def _over_time(text: str, shape: str) -> dict[str, Any]:
    """Requests and failures a second of all kinds together, as `report` draws them."""
    rows = [row for row in csv.DictReader(text.splitlines()) if row["Name"] == "Aggregated"]
    began = int(rows[0]["Timestamp"]) if rows else 0

    def line(column: str) -> list[tuple[int, float]]:
        return [(int(row["Timestamp"]) - began, round(float(row[column]), 1)) for row in rows]

    lines = {"requests": line("Requests/s"), "failures": line("Failures/s"), "users": line("User Count")}
    title = f"Locust, {shape}: requests a second, all kinds"
    return {"title": title, "kind": "lines", "x": "seconds from the begin", "y": "1/s", "lines": lines}


def _words(arguments: argparse.Namespace, house: ApiHouse, folder: Path) -> list[str]:
    options = {
        "--processes": arguments.processes,
        "--html": folder / "locust.html",
        "--csv": folder / "locust",
        "--shape": arguments.shape,
        "--scale": arguments.shape_scale,
        "--stretch": arguments.stretch,
        "--readers": arguments.readers,
        "--ingest": house.doors["ingest"],
        "--api": house.doors["api"],
        "--store": house.doors["store"],
        "--routing-key": Path(house.environ["ICAZE_DATA_DIR"]) / "keys" / "routing.key",
    }
    words = [sys.executable, "-m", "locust", "-f", str(FILE), "--headless", "--only-summary"]
    return words + [str(word) for pair in options.items() for word in pair]


def _environ(house: ApiHouse) -> dict[str, str]:
    """Tokens, which are no arguments, and where the suite finds the rest of this package."""
    tokens = {f"LOCUST_{role.upper()}_TOKENS": " ".join(house.tokens(role, CLIENTS)) for role in ("mygov", "police")}
    return {**os.environ, **tokens, "PYTHONPATH": str(FILE.parents[1])}
