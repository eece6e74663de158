"""The store away for a while under load: `python -m tests.system.outage --seconds 600 --rate 500`.

Real processes on one machine. Aggregators push at a steady rate; the store is killed, and started again when as many
as come in so many seconds were acknowledged without it. Every SMS must be acknowledged at the first try, and `icaze
verify` must find each decided and answered once. With `--kills`, ingest is killed (-9) at random moments: the store is
started for the next one, which opens no door without it, and killed again, so that the outage is one more than the
kills, all together as long. Then a push may be repeated.
"""

import argparse
import asyncio
import json
import random
import re
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, Final

from runtime.embedded import EmbeddedStore
from tests.system.house import ICAZE, PARTITIONS, House, Running, holds, ready, until

AROUND_S: Final = 3.0
"""Load before the outage, and after it."""


class Outage:
    """One outage in a house of its own."""

    def __init__(self, house: House, *, seconds: float, rate: int, kills: int = 0) -> None:
        house.furnish()
        self._house = house
        self._seconds = seconds
        self._rate = rate
        self._kills = kills
        self._store = EmbeddedStore(house.data, memory_mb=1024)

    def run(self) -> dict[str, Any]:
        """What was seen; AssertionError where a promise is broken."""
        house = self._house
        asyncio.run(self._store.start())
        house.at_end(lambda: asyncio.run(self._store.stop()))
        sink = house.sink()
        self._ingest = house.start("ingest")
        worker, dispatcher = house.start("process"), house.start("dispatch")
        self._door = self._ingest.door("ingest")
        replay = house.replay(self._trace(), self._door, rate=self._rate)
        until(lambda: house.acknowledged() > self._rate * AROUND_S / 3, "the load has begun")
        self._store.kill()
        away_s = time.monotonic()
        killed = self._while_away()
        spooled = int(ready(self._door)["spooled"])
        asyncio.run(self._store.start())
        back_s = time.monotonic()
        away_s = back_s - away_s
        until(lambda: self._spooled() == 0, "the spool is empty", within_s=60 + self._seconds)
        emptied_s = time.monotonic() - back_s
        assert replay.ended(within_s=60 + self._seconds) == 0, replay.errors()
        replayed = self._metric("icaze_spool_replayed_total")
        until(lambda: holds(worker.door("process"), PARTITIONS), "the worker has all partitions")
        until(lambda: holds(dispatcher.door("dispatch"), PARTITIONS), "the dispatcher has all partitions")
        for role in (self._ingest, worker, dispatcher, sink):
            role.stop(within_s=120)
        pushed: dict[str, Any] = json.loads(replay.lines[-1])
        assert self._kills or not pushed["retries"], f"{pushed['retries']} retries, and ingest was never killed"
        return {
            "outage_s": round(away_s, 1),
            "rate": self._rate,
            "pushed": pushed["messages"],
            "retries": pushed["retries"],
            "spooled_when_back": spooled,
            "replayed_by_the_last_ingest": replayed,
            "emptied_s": round(emptied_s, 2),
            "ingest_kills": killed,
            **self._verified(),
        }

    def _trace(self) -> Path:
        trace = self._house.folder / "trace.ndjson"
        messages = int(self._rate * (self._seconds + 2 * AROUND_S + 6 * self._kills))
        words = ["day", "--messages", str(messages), "--seed", "21", "--mix", "steady", "-o", str(trace)]
        subprocess.run([*ICAZE, *words], check=True, timeout=600)
        return trace

    def _while_away(self) -> int:
        """Let the outage last, by what is acknowledged in it, and kill ingest meanwhile; how often it was killed."""
        began, lasts = self._house.acknowledged(), self._seconds * self._rate
        for at in sorted(random.uniform(0.1, 0.9) for _ in range(self._kills)):
            self._until_acknowledged(began + at * lasts)
            # Another one cannot start without the store: what this one took waits on disk.
            self._ingest.kill()
            asyncio.run(self._store.start())
            self._ingest = self._again()
            self._store.kill()
        self._until_acknowledged(began + lasts)
        return self._kills

    def _until_acknowledged(self, count: float) -> None:
        acknowledged = self._house.acknowledged
        until(lambda: acknowledged() >= count, f"{count:.0f} acknowledged", within_s=60 + 2 * self._seconds)

    def _again(self) -> Running:
        return self._house.start("ingest", {"ICAZE_INGEST_PORT": self._door.rpartition(":")[2]})

    def _spooled(self) -> int:
        facts = ready(self._door)
        return int(facts["spooled"]) if facts.get("stored") else -1

    def _metric(self, name: str) -> int:
        with urllib.request.urlopen(f"{self._door}/metrics", timeout=5) as answer:  # noqa: S310
            found = re.search(rf"^{name} (\S+)$", answer.read().decode(), re.MULTILINE)
        return int(float(found[1])) if found else 0

    def _verified(self) -> dict[str, Any]:
        words = ["verify", "--journal", str(self._house.journal), "--sink", str(self._house.sink_log), "--json"]
        done = subprocess.run(
            [*ICAZE, *words], env=self._house.environ, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode in (0, 1), done.stderr
        report = json.loads(done.stdout)
        bad = [check for check in report["checks"] if check["status"] != "ok"]
        assert not bad, bad
        return {name: report[name] for name in ("acknowledged", "rows", "approved")}


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.system.outage", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long the store is away (default 600)")
    parser.add_argument("--rate", type=int, default=500, help="SMS a second (default 500)")
    parser.add_argument("--kills", type=int, default=0, help="times that ingest is killed (default 0)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="icaze-") as folder:
        house = House(Path(folder))
        try:
            print(json.dumps(Outage(house, seconds=asked.seconds, rate=asked.rate, kills=asked.kills).run()))
        finally:
            house.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
