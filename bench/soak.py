"""Bounded for ever: days of traffic in an hour, the clock put forward a day after each, and what is left each time.

`icaze up` runs under a clock of its own (`bench.clock`). Each day takes a day's SMS in, has them decided and sent, lets
a second group read the replies as late as it may, gives the house time to tidy up, and looks at everything that could
grow: keys, memory, consumers, pending entries, files, open files. What stays longest in the store stays nine days, so
the last days must be what the days before them were.
"""

import argparse
import http.client
import json
import os
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from itertools import islice
from pathlib import Path
from statistics import mean, median
from typing import Any, Final

import msgspec
import redis

from bench.api_house import ICAZE, ApiHouse, opened
from bench.arguments import positive, positive_number
from bench.clock import DAY_MS, Clock
from bench.day import generate
from bench.machine import OwnTime
from bench.measurement import Measurement, Target, conditions
from bench.preload import why_not
from bench.spell import say
from bench.whole_path import ROLES, drained, entries, settings_of, sink_process, used
from lua.keys import KEY_TABLE

LONGEST_DAYS: Final = 10
"""Counters stay eight days after theirs, trails seven once archived, all else less: then all is level."""
LEVEL_DAYS: Final = 4
"""Compared at the end: half of them with the other half."""
REQUEST: Final = 100
ROOM: Final = 1.05
GROWING: Final = ("keys", "store_mb", "aof_mb", "open_files", "resident_mb")
TARGETS: Final = {
    **{f"growth_{name}": Target(ROOM, ROOM) for name in GROWING},
    "keys_without_end": Target(0, 0),
    "consumers_more": Target(0, 0),
    "pending": Target(0, 0),
    "waiting": Target(0, 0),
    "replies_trimmed_unread": Target(0, 0),
    "undecided_or_twice": Target(0, 0),
    "trail_broken": Target(0, 0),
}
GROUP: Final = "late-reader"
WITHOUT_END: Final = frozenset(
    spec.name.partition(":")[0] for spec in KEY_TABLE if spec.ttl.startswith(("none", "entries go", "trimmed"))
)
"""Kinds whose keys may stand for ever, since what is in them goes (ARCHITECTURE.md tells by which rule)."""
PATIENCE_S: Final = 120.0


def configure(parser: argparse.ArgumentParser) -> None:
    """How many days, of what."""
    parser.add_argument("--days", type=positive, default=20, help="default %(default)s")
    parser.add_argument("--messages", type=positive, default=20_000, help="SMS a day (default %(default)s)")
    parser.add_argument(
        "--settle", type=positive_number, default=70.0, help="real seconds to tidy up each day (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=8103, help="of the SMS (default %(default)s)")


def measure(arguments: argparse.Namespace) -> Measurement:
    """The days, one after the other."""
    if (why := why_not()) is not None:
        raise SystemExit(f"icaze bench: no clock can be put forward: {why}")
    with tempfile.TemporaryDirectory(prefix="icaze-soak-") as name:
        folder = Path(name)
        with (
            closing(Clock(folder)) as clock,
            sink_process(folder) as (operator, _),
            opened(folder, settings_of(folder, operator) | clock.environ) as house,
        ):
            soak = Soak(house, clock, folder / "sink.ndjson")
            for number in range(arguments.days):
                soak.day(number, messages=arguments.messages, seed=arguments.seed + number, settle_s=arguments.settle)
            told = soak.told()
            proof = subprocess.run([*ICAZE, "audit", "verify"], env=house.environ, capture_output=True, check=False)
            house.up.send_signal(signal.SIGTERM)
            house.up.wait(timeout=60)
    return Measurement(
        measurement="soak",
        conditions=conditions(
            messages=arguments.days * arguments.messages,
            mix="launch",
            generator_busy=soak.generator_busy,
            days=arguments.days,
            settle_s=arguments.settle,
            seed=arguments.seed,
            clock="a day forward after each day; timers in real time",
            archive=proof.stdout.decode().strip().rpartition("\n")[2] or proof.stderr.decode().strip(),
        ),
        figures=told | {"trail_broken": int(proof.returncode != 0)},
        targets={name: target for name, target in TARGETS.items() if name in told or name == "trail_broken"},
        plots=soak.plots(),
    )


class Look(msgspec.Struct, frozen=True):
    """What stood at the end of one day."""

    kinds: dict[str, int]
    """Keys of each."""
    keys_without_end: int
    consumers: int
    pending: int
    waiting: int
    """Entries in the streams of what is not done yet."""
    store_mb: float
    aof_mb: float
    archive_mb: float
    logs_mb: float
    open_files: int
    resident_mb: float
    """Of all roles."""

    @property
    def keys(self) -> int:
        """Of all kinds."""
        return sum(self.kinds.values())


class Soak:
    """A house, the days that it has seen, and what was left after each."""

    def __init__(self, house: ApiHouse, clock: Clock, sent: Path) -> None:
        self._house = house
        self._clock = clock
        self._sent = sent
        self._data = Path(house.environ["ICAZE_DATA_DIR"])
        self._store: Any = redis.Redis(unix_socket_path=house.doors["store"].removeprefix("unix://"))
        self._tags: list[str] = json.loads(self._store.get("layout") or b"{}")["tags"]
        self._pids = [house.pid(role) for role in ROLES]
        self._looks: list[Look] = []
        self._accepted = 0
        self._busy: list[float] = []
        self._decided: dict[str, int] = {}
        self._unread = self._sent_before = 0
        for tag in self._tags:
            self._store.fcall("permits_v2_register", 2, f"replies:{{{tag}}}", f"groups:{{{tag}}}", GROUP, _now_ms())

    def day(self, number: int, *, messages: int, seed: int, settle_s: float) -> None:
        """One day: taken in, decided, sent, read late, tidied up, looked at."""
        self._clock.shift(number * DAY_MS)
        own = OwnTime()
        self._push(generate(messages, seed, "launch", date(2026, 1, 1)), f"{number}-")
        self._busy.append(own.busy)
        self._read_late()
        drained(self._store)
        for key in self._store.scan_iter("counts:*", count=1000):
            outcomes = ((name, value) for name, value in self._store.hgetall(key).items() if name[1:].isdigit())
            self._decided[key.decode()] = sum(int(value) for _, value in outcomes)
        time.sleep(settle_s)
        self._looks.append(self._look())
        look = self._looks[-1]
        say(
            f"day {number + 1}: {look.keys:,} keys, store {look.store_mb:.1f} MB, append-only file {look.aof_mb:.1f} MB"
        )

    def _push(self, day: Iterator[tuple[Any, Any]], name: str) -> None:
        """All of a day, in arrays; a house that has not noticed the new day yet is asked again."""
        host, port = self._house.doors["ingest"].removeprefix("http://").split(":")
        line = http.client.HTTPConnection(host, int(port), timeout=30)
        posted = ({"id": name + one.id, "from": one.sender, "to": one.to, "text": one.text} for one, _ in day)
        while items := list(islice(posted, REQUEST)):
            deadline = time.monotonic() + PATIENCE_S
            while True:
                line.request("POST", "/v1/sms", json.dumps(items), {"Content-Type": "application/json"})
                answer = line.getresponse()
                said = json.loads(answer.read())
                if answer.status == http.HTTPStatus.ACCEPTED:
                    self._accepted += said["accepted"]
                    break
                if time.monotonic() > deadline:
                    raise SystemExit(f"ingest answers {answer.status}: {said}")
                time.sleep(0.2)
        line.close()

    def _read_late(self) -> None:
        """What the dispatcher has done with stands until we have read it, too: every reply of the day."""
        deadline = time.monotonic() + PATIENCE_S
        while any(entries(self._store, "inbound")) or any(self._behind("dispatch")):
            if time.monotonic() > deadline:
                raise SystemExit(f"not sent within {PATIENCE_S:.0f} s")
            time.sleep(0.2)
        time.sleep(2.0)  # a trim that touched what we have not read would have done so by now
        read = 0
        for tag in self._tags:
            stream = f"replies:{{{tag}}}"
            while found := self._store.xreadgroup(GROUP, "reader", {stream: ">"}, count=500):
                ids = [entry_id for entry_id, _ in found[0][1]]
                self._store.xack(stream, GROUP, *ids)
                read += len(ids)
        with self._sent.open("rb") as log:
            sent = sum(1 for _ in log)
        self._unread += abs(sent - self._sent_before - read)
        self._sent_before = sent

    def _behind(self, group: str) -> list[int]:
        """Entries of each partition that a group of the replies has not read or not acknowledged."""
        pipe = self._store.pipeline(transaction=False)
        for tag in self._tags:
            pipe.xinfo_groups(f"replies:{{{tag}}}")
        return [
            int(one["pending"]) + int(one["lag"] or 0)
            for groups in pipe.execute()
            for one in groups
            if one["name"] == group.encode()
        ]

    def _look(self) -> Look:
        store = self._store
        names: list[bytes] = list(store.scan_iter(count=1000))
        pipe = store.pipeline(transaction=False)
        for name in names:
            pipe.ttl(name)
        kinds = [name.decode().partition(":")[0] for name in names]
        endless = sum(1 for kind, ttl in zip(kinds, pipe.execute(), strict=True) if ttl < 0 and kind not in WITHOUT_END)
        streams = [f"{kind}:{{{tag}}}" for tag in self._tags for kind in ("inbound", "replies")]
        groups = [one for stream in streams for one in store.xinfo_groups(stream)]
        return Look(
            kinds=dict(Counter(kinds)),
            keys_without_end=endless,
            consumers=sum(int(one["consumers"]) for one in groups),
            pending=sum(int(one["pending"]) for one in groups),
            waiting=sum(map(store.xlen, streams)) + sum(store.zcard(f"held:{{{tag}}}") for tag in self._tags),
            store_mb=used(store) / 1e6,
            aof_mb=_size_mb(self._data / "store"),
            archive_mb=_size_mb(self._data / "archive"),
            logs_mb=_size_mb(self._data / "logs"),
            open_files=sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in self._pids),
            resident_mb=sum(_resident_mb(pid) for pid in self._pids),
        )

    @property
    def generator_busy(self) -> float:
        """What writing and pushing a day took of a core meanwhile, at the median of the days."""
        return median(self._busy)

    def told(self) -> dict[str, float]:
        """The figures; how it grew only where the days were enough to tell."""
        last, looks = self._looks[-1], self._looks
        figures: dict[str, float] = {
            "accepted": self._accepted,
            "undecided_or_twice": abs(self._accepted - sum(self._decided.values())),
            "replies_trimmed_unread": self._unread,
            "keys_without_end": max(look.keys_without_end for look in looks),
            "consumers_more": last.consumers - looks[0].consumers,
            "pending": max(look.pending for look in looks),
            "waiting": max(look.waiting for look in looks),
            "archive_mb_a_day": round(last.archive_mb / len(looks), 3),
            "logs_kb_a_day": round(last.logs_mb * 1000 / len(looks), 3),
            **{name: round(getattr(last, name), 1) for name in GROWING},
        }
        if len(looks) >= LONGEST_DAYS + LEVEL_DAYS:
            before, after = looks[-LEVEL_DAYS : -LEVEL_DAYS // 2], looks[-LEVEL_DAYS // 2 :]
            for name in GROWING:
                grown = mean(getattr(look, name) for look in after) / mean(getattr(look, name) for look in before)
                figures[f"growth_{name}"] = round(grown, 3)
        return figures

    def plots(self) -> list[dict[str, Any]]:
        """Everything that could grow, day by day."""

        def line(name: str) -> list[tuple[float, float]]:
            return [(day, round(getattr(look, name), 2)) for day, look in enumerate(self._looks, 1)]

        kinds = sorted({kind for look in self._looks for kind in look.kinds})
        keys = {kind: [(day, look.kinds.get(kind, 0)) for day, look in enumerate(self._looks, 1)] for kind in kinds}
        most = sorted(keys, key=lambda kind: -max(count for _, count in keys[kind]))[:6]
        said = {"kind": "lines", "x": "day"}
        return [
            {"title": "soak: keys", "y": "keys", "lines": {kind: keys[kind] for kind in most}, **said},
            {"title": "soak: memory", "y": "MB", "lines": {n: line(n) for n in ("store_mb", "resident_mb")}, **said},
            {"title": "soak: files", "y": "MB", "lines": {n: line(n) for n in ("aof_mb", "archive_mb")}, **said},
            {"title": "soak: open files of all roles", "y": "files", "lines": {"open": line("open_files")}, **said},
        ]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _size_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
