"""What a measurement says: one JSON object of one form, or a short table for people."""

import argparse
import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from bench.arguments import positive
from bench.author import MIXES


class Report(msgspec.Struct, frozen=True):
    """The contract of `icaze bench --json`."""

    measurement: str
    conditions: dict[str, Any]
    figures: dict[str, float]
    references: dict[str, float]
    ratios: dict[str, float]

    def show(self, *, as_json: bool) -> None:
        """Print it."""
        if as_json:
            print(json.dumps(msgspec.structs.asdict(self)))
            return
        for title in ("conditions", "figures", "references", "ratios"):
            told: dict[str, Any] = getattr(self, title)
            if told:
                print(title)
                print("\n".join(f"  {name:<24} {_shown(value)}" for name, value in told.items()))


def _shown(value: object) -> str:
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int | float):
        return f"{value:,.3f}" if isinstance(value, float) and value < 100 else f"{value:,.0f}"
    return json.dumps(value)


def configure(parser: argparse.ArgumentParser, *, messages: int, repeats: int = 3) -> None:
    """The arguments that every measurement of a backlog takes."""
    parser.add_argument("--messages", type=positive, default=messages, help="SMS drained (default %(default)s)")
    parser.add_argument("--mix", choices=sorted(MIXES), default="launch", help="of the SMS (default %(default)s)")
    parser.add_argument("--partitions", type=positive, default=64, help="of the store (default %(default)s)")
    parser.add_argument("--repeats", type=positive, default=repeats, help="medians are told (default %(default)s)")
    parser.add_argument("--seed", type=int, default=8103)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def conditions(arguments: argparse.Namespace, *, server: str, **more: object) -> dict[str, Any]:
    """What every measurement says about itself."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "server": server,
        "redis_py": version("redis"),
        "level": "fsync",
        "partitions": arguments.partitions,
        "messages": arguments.messages,
        "mix": arguments.mix,
        "repeats": arguments.repeats,
        **more,
    }


def rounded(values: Mapping[str, float]) -> dict[str, float]:
    """Three digits behind the point are more than any of them is worth."""
    return {name: round(value) if value >= 1000 else round(value, 3) for name, value in values.items()}


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    found = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return found or platform.processor() or platform.machine()
