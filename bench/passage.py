"""One load through a whole system: from the intended start of each SMS to its acknowledgement, and to the operator.

Starts `icaze up` with the http operator, pushes the SMS of a launch day at their intended times, signed, waits until
the last reply is out, and lets `icaze verify` look for what was lost or decided twice. Used by `ingest` and `peak`.
"""

import gc
import os
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import msgspec
import redis
import uvloop

from bench.api_house import ApiHouse, opened
from bench.latencies import SHARES, Latencies
from bench.machine import busy_us, cpu_us, sync_times
from bench.open_loop import Answers, ask_openly
from bench.posts import PATH, Post, distinct, posts, settings
from bench.whole_path import ROLES, drained, peak_mb, settings_of, sink_process, verify

CONNECTIONS: Final = 256
"""More than are ever busy while the system keeps up: no SMS should wait for a line of ours."""
BIN_S: Final = 0.5
"""Width of a point in the plots over time."""
TICK_MS: Final = 1
"""The operator's log counts whole milliseconds, rounded down: each arrival is taken as the end of its own."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What is pushed, and how."""

    rate: float
    """SMS a second."""
    seconds: float
    size: int = 1
    """SMS a request."""
    seed: int = 8103
    connections: int = CONNECTIONS

    @property
    def requests(self) -> int:
        """In all."""
        return round(self.rate * self.seconds / self.size)


class _Accepted(msgspec.Struct):
    ids: list[str]
    rejected: list[Any] = []


class _Taken(msgspec.Struct):
    in_reply_to: str | None
    at_ms: int


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of one load."""

    load: Load
    pushed: list[Post]
    answers: Answers
    acked_ms: dict[str, int]
    """Wall clock of the first acknowledgement of each id."""
    rejected: int
    at_operator_ms: dict[str, int]
    """Wall clock of the arrival of each reply, by the id that it answers."""
    drained_s: float
    """From the intended start of the last request until nothing was left in the streams."""
    cpu_us: dict[str, float]
    """Processor time a pushed SMS, by role; `push` is the generator and `operator` the sink."""
    others_cores: float
    """Cores that programs which have nothing to do with this kept busy meanwhile."""
    peak_mb: dict[str, float]
    syncs: Latencies
    checks: list[dict[str, Any]]

    def intended_ms(self, number: int) -> float:
        """Wall clock of the intended start of a request."""
        return (self.answers.began_wall_s + number * self.load.size / self.load.rate) * 1000

    def to_operator(self) -> list[tuple[float, float]]:
        """(seconds from the load's begin to the intended start, seconds from there to the operator) of each SMS.

        Those without a reply are missing: an answer to every one of them is not due (`icaze verify` knows which).
        """
        began_ms = self.answers.began_wall_s * 1000
        return [
            ((start_ms - began_ms) / 1000, (self.at_operator_ms[id_] + TICK_MS - start_ms) / 1000)
            for number, id_ in distinct(self.pushed)
            if id_ in self.at_operator_ms
            for start_ms in (self.intended_ms(number),)
        ]

    def references(self) -> dict[str, float]:
        """What the figures stand beside."""
        return {
            **{f"fdatasync_{name}_ms": self.syncs.at_ms(share) for name, share in SHARES.items()},
            "others_busy_cores": round(self.others_cores, 2),
        }

    def figures(self) -> dict[str, float]:
        """As a report shows them."""
        waits = self.to_operator()
        last_s = self.load.seconds - self.load.size / self.load.rate
        return {
            "sms_pushed": sum(len(post.ids) for post in self.pushed),
            "requests_failed": self.answers.asked - self.answers.statuses[self.answers.expected],
            "sms_rejected": self.rejected,
            "sms_replied": len(waits),
            **Latencies(self.answers.latencies_s).figures("ack_"),
            **Latencies(wait for _, wait in waits).figures("sink_"),
            "lag_max_s": round(max((wait for _, wait in waits), default=0.0), 3),
            "last_reply_s": round(max((start + wait for start, wait in waits), default=0.0) - last_s, 3),
            "drained_s": round(self.drained_s, 1),
            "sent_late_p99_ms": Latencies(self.answers.late_s).at_ms(0.99),
            **{f"cpu_us_{role}": round(used, 1) for role, used in self.cpu_us.items()},
            **{f"peak_mb_{role}": peak for role, peak in self.peak_mb.items()},
            "violations": sum(check["violations"] for check in self.checks),
            "not_checked": sum(check["status"] == "not checked" for check in self.checks),
        }

    def plots(self, name: str) -> list[dict[str, Any]]:
        """Curves of one load, as `report` draws them."""
        waits = self.to_operator()
        began_ms = self.answers.began_wall_s * 1000
        pushed = ((self.intended_ms(n) - began_ms) / 1000 for n, post in enumerate(self.pushed) for _ in post.ids)
        lag = _worst(waits)
        return [
            {
                "title": f"{name}: SMS a second",
                "kind": "lines",
                "x": "seconds from the begin",
                "y": "SMS/s",
                "lines": {
                    "pushed (intended)": _rates(pushed),
                    "acknowledged": _rates((at - began_ms) / 1000 for at in self.acked_ms.values()),
                    "replies at the operator": _rates((at - began_ms) / 1000 for at in self.at_operator_ms.values()),
                },
            },
            {
                "title": f"{name}: lag, longest from push to reply",
                "kind": "lines",
                "x": "seconds from the begin, of the push",
                "y": "ms",
                "lines": {"longest": lag},
            },
            {
                "title": f"{name}: latency from the intended start",
                "kind": "percentiles",
                "x": "share of all",
                "y": "ms",
                "lines": {
                    "acknowledged": Latencies(self.answers.latencies_s).curve(),
                    "at the operator": Latencies(wait for _, wait in waits).curve(),
                    "disk's own sync": self.syncs.curve(),
                },
            },
        ]


def pass_through(load: Load, folder: Path) -> Passage:
    """Run one load against a system of its own, in an empty folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        operator, operator_pid = stack.enter_context(sink_process(folder))
        house = stack.enter_context(opened(folder, settings_of(folder, operator) | settings(folder)))
        syncs = sync_times(Path(house.environ["ICAZE_DATA_DIR"]))
        store: Any = redis.Redis(unix_socket_path=house.doors["store"].removeprefix("unix://"))
        stack.callback(store.close)
        pids = {role: house.pid(role) for role in ROLES}
        pids |= {"store": int(store.info("server")["process_id"]), "operator": operator_pid, "push": os.getpid()}
        pushed = posts(house.doors["ingest"], load.requests, size=load.size, seed=load.seed)
        used, busy, began_s = _used(pids), busy_us(), time.monotonic()
        answers, heard = _push(load, house, pushed)
        drained(store)
        drained_s = time.time() - answers.began_wall_s - load.seconds
        spent = {role: now - used[role] for role, now in _used(pids).items()}
        others = (busy_us() - busy - sum(spent.values())) / 1e6 / (time.monotonic() - began_s)
        memory = {role: peak_mb(pid) for role, pid in pids.items() if role != "push"}
        acked_ms, rejected = _journal(heard, folder / "journal.ndjson")
        checks: list[dict[str, Any]] = verify(folder, house)["checks"]
    return Passage(
        load=load,
        pushed=pushed,
        answers=answers,
        acked_ms=acked_ms,
        rejected=rejected,
        at_operator_ms=_arrivals((folder / "sink.ndjson").read_bytes()),
        drained_s=drained_s,
        cpu_us={role: used / (load.requests * load.size) for role, used in spent.items()},
        others_cores=max(0.0, others),
        peak_mb=memory,
        syncs=syncs,
        checks=checks,
    )


def _push(load: Load, house: ApiHouse, pushed: list[Post]) -> tuple[Answers, list[tuple[int, bytes]]]:
    """The answers, and (wall clock ms, body) of each 202; what is in the bodies is read when the load is over."""
    heard: list[tuple[int, bytes]] = []

    def hear(_: int, status: int, body: bytes) -> None:
        if status == 202:
            heard.append((time.time_ns() // 1_000_000, body))

    gc.collect()
    gc.freeze()  # the requests: no collection should walk over them while time is measured
    try:
        asking = ask_openly(
            house.doors["ingest"],
            [post.request for post in pushed],
            rate=load.rate / load.size,
            seconds=load.seconds,
            connections=load.connections,
            expected=202,
            hear=hear,
            what=f"posts to {PATH}",
        )
        return uvloop.run(asking), heard
    finally:
        gc.unfreeze()


def _journal(heard: Iterable[tuple[int, bytes]], path: Path) -> tuple[dict[str, int], int]:
    """First acknowledgement of each id, and how many items were rejected; written down as `icaze verify` reads it."""
    acked: dict[str, int] = {}
    rejected = 0
    lines: list[dict[str, object]] = []
    for at_ms, body in heard:
        answer = msgspec.json.decode(body, type=_Accepted)
        rejected += len(answer.rejected)
        for id_ in answer.ids:
            acked.setdefault(id_, at_ms)
            lines.append({"id": id_, "acked_ms": at_ms})
    path.write_bytes(msgspec.json.Encoder().encode_lines(lines))
    return acked, rejected


def _arrivals(log: bytes) -> dict[str, int]:
    """When the operator first took the reply to each id."""
    first: dict[str, int] = {}
    for taken in msgspec.json.Decoder(_Taken).decode_lines(log):
        if taken.in_reply_to is not None:
            first.setdefault(taken.in_reply_to, taken.at_ms)
    return first


def _used(pids: dict[str, int]) -> dict[str, float]:
    return {role: cpu_us(pid) for role, pid in pids.items()}


def _rates(at_s: Iterable[float]) -> list[tuple[float, float]]:
    """(seconds, events a second) over time; stretches without any count as nought."""
    bins = Counter(int(at // BIN_S) for at in at_s)
    if not bins:
        return []
    return [(round(n * BIN_S, 3), bins[n] / BIN_S) for n in range(min(bins), max(bins) + 1)]


def _worst(waits: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """(seconds, the longest wait in ms) of the SMS that were meant to start then."""
    worst: dict[int, float] = {}
    for start, wait in waits:
        at = int(start // BIN_S)
        worst[at] = max(worst.get(at, 0.0), wait)
    return [(round(at * BIN_S, 3), round(wait * 1000, 1)) for at, wait in sorted(worst.items())]
