"""A steady day's SMS through one process of each role, on a store that somebody else runs and hurts meanwhile.

What the replay pushed and was told becomes a history such as `tests.system.checker` reads: that shares no code with the
product, and has the last word beside `icaze verify`.
"""

import json
import time
import urllib.request
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from lua.keys import partition_keys, tags
from tests.system.checker.store import store_of
from tests.system.house import PARTITIONS, House, holds, ready, until
from tests.system.laboratory.baseline import take
from tests.system.laboratory.checking import Checked, check
from tests.system.laboratory.pusher import SOURCE

UNSEEN: Final = {"I9", "I10"}
"""Nobody asks the api: no permit is shown or acted on."""
STREAMS: Final = [name for keys in map(partition_keys, tags(PARTITIONS)) for name in (keys.inbound, keys.replies)]


class BusyDay:
    """One process of each role, and a replay that runs through them."""

    def __init__(self, house: House, trace: Path, url: str, *, level: str) -> None:
        house.furnish()
        house.environ |= {"ICAZE_REDIS_URL": url, "ICAZE_DURABILITY": level}
        self.house = house
        self._sms: list[dict[str, Any]] = [json.loads(line) for line in trace.read_bytes().splitlines()]
        self._trace = trace
        self._baseline = house.folder / "baseline"

    def begin(self, rate: int, store: str) -> None:
        """Start the sink, the roles and, once `store`, which holds the data, is being read, the replay."""
        house = self.house
        self._sink = house.sink()
        self._ingest, self._worker, self._dispatcher = map(house.start, ("ingest", "process", "dispatch"))
        self._hold_all()
        until(lambda: all(_is_read(store, name) for name in STREAMS), "every stream is read")
        take(store, self._baseline)
        self._began_ms = time.time_ns() // 1_000_000
        self._replay = house.replay(self._trace, self._ingest.door("ingest"), rate=rate)

    def at(self, share: float) -> None:
        """Wait until ingest has acknowledged so much of the day; it must not be the last of it."""
        messages = round(share * len(self._sms))
        until(lambda: self.house.acknowledged() >= messages, f"{messages} acknowledged")
        assert self._replay.alive, "the replay was over before the fault"

    def end(self, store: str) -> dict[str, int]:
        """Let all finish and hold the promises against what is left in `store`; what was counted, and for how long,
        ms, nothing was acknowledged and nothing sent."""
        house = self.house
        assert self._replay.ended(within_s=90) == 0, self._replay.errors()
        until(lambda: ready(self._ingest.door("ingest")).get("spooled") == 0, "the spool is empty")
        self._hold_all()
        metrics = [self._metrics("ingest"), self._metrics("process"), self._metrics("dispatch")]
        for role in (self._ingest, self._worker, self._dispatcher, self._sink):
            role.stop(within_s=90)
        report = house.verify()
        self._check(store, metrics)
        assert report["rows"] >= len(self._sms)
        assert report["acknowledged"] > len(self._sms) * 0.9, "ids of the day are not nearly all distinct"
        assert report["approved"] > 0
        assert report["refused"]["quota"] > 0
        took: dict[str, int] = json.loads(self._sink.errors().removeprefix("sink: "))
        return {
            "acknowledging_ms": _gap_ms(house.journal, "acked_ms"),
            "sending_ms": _gap_ms(house.sink_log, "at_ms"),
            "acknowledged": report["acknowledged"],
            "decided": report["rows"],
            "ambiguous": report["ambiguous"],
            "retries": json.loads(self._replay.lines[-1])["retries"],
            "sent": took["accepted"],
        }

    def _hold_all(self) -> None:
        until(lambda: holds(self._worker.door("process"), PARTITIONS), "the worker has all partitions")
        until(lambda: holds(self._dispatcher.door("dispatch"), PARTITIONS), "the dispatcher has all partitions")

    def _metrics(self, role: str) -> Path:
        """What a role says of itself to all who ask, as a file."""
        door = {"ingest": self._ingest, "process": self._worker, "dispatch": self._dispatcher}[role].door(role)
        file = self.house.folder / f"{role}.metrics"
        with urllib.request.urlopen(f"{door}/metrics", timeout=10) as answer:  # noqa: S310
            file.write_bytes(answer.read())
        return file

    def _check(self, store: str, metrics: list[Path]) -> None:
        """The checker: nothing broken, and everything looked at."""
        found = Checked()
        check(found, self.house, self._history(), store, metrics=metrics, baseline=self._baseline)
        assert not found.violated, found.violated
        assert found.unchecked.keys() <= UNSEEN, found.unchecked
        assert found.looked["I1"] > len(self._sms) * 0.9, found.looked

    def _history(self) -> Path:
        """What the replay pushed, then what it was told, by its journal."""
        lines: list[dict[str, Any]] = [
            {
                "at_ms": self._began_ms,
                "event": "pushed",
                "id": sms["id"],
                "source": SOURCE,
                "from": sms["from"],
                "text": sms["text"],
                "received_at_ms": None,  # the replay leaves the day's times out
            }
            for sms in self._sms
        ]
        for said in map(json.loads, self.house.journal.read_bytes().splitlines()):
            event = "acknowledged" if "acked_ms" in said else "refused"
            lines.append({"at_ms": said.get("acked_ms", self._began_ms), "event": event, "id": said["id"]})
        lines.sort(key=lambda line: line["at_ms"])
        lines.append({"at_ms": time.time_ns() // 1_000_000, "event": "quiet"})
        file = self.house.folder / "history"
        file.write_text("".join(json.dumps({"who": "replay", **line}) + "\n" for line in lines))
        return file


def _is_read(url: str, stream: str) -> bool:
    """Whether a stream has a reader."""
    store = store_of(url)
    try:
        return any(group["consumers"] for group in store.groups(stream))
    finally:
        store.close()


def _gap_ms(path: Path, name: str) -> int:
    moments = sorted(json.loads(line)[name] for line in path.read_text().splitlines())
    return max(after - before for before, after in pairwise(moments))
