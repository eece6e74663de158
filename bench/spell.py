"""From the first decision to the last, and what it cost: watched from outside, by the length of the streams."""

import sys
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from bench.role import Running, queued_us
from bench.store import Store

PATIENCE_S: Final = 600.0
LOOK_S: Final = 0.01
"""Between two looks at the streams, which cost the server half a per cent of its time."""
READS: Final = ("xreadgroup", "xrange")
SHORTEST_S: Final = 0.1
"""Of a stretch for which a rate is told: a batch is decided at once."""
STRETCHES: Final = 100

Points = list[tuple[float, float]]


class Spell(msgspec.Struct, frozen=True):
    """What passed while a backlog was decided; starting up is left out."""

    seconds: float
    worker_us: float
    server_us: float
    read_us: float
    """Of the server's time, what it spent inside the reads."""
    generator_us: float
    worker_queued_us: float
    """Ready to run, and no core was free: other programs' doing."""
    server_queued_us: float
    left: Points = []
    """(seconds from the first decision, entries undecided) at every look."""

    def rates(self) -> Points:
        """(seconds, decisions a second until then) of stretches of the same length."""
        stretch = max(SHORTEST_S, self.seconds / STRETCHES)
        points: Points = []
        (since, before), *looks = self.left
        for at, left in looks:
            if at - since >= stretch:
                points.append((round(at, 3), round((before - left) / (at - since))))
                since, before = at, left
        return points


def watch(store: Store, worker: Running, streams: Sequence[str], count: int) -> Spell:
    """Returns once all `count` entries are decided."""
    deadline = time.monotonic() + PATIENCE_S
    pids = store.pids
    began = _now(store, worker, pids)
    looks: Points = []
    while time.monotonic() < deadline:
        undecided = store.lengths(streams)
        if undecided == count:
            began = _now(store, worker, pids)
            looks.clear()
        looks.append((time.monotonic(), undecided))
        if undecided == 0:
            ended = _now(store, worker, pids)
            left = [(max(0.0, at - began[0]), still) for at, still in looks]
            return Spell(*(after - before for after, before in zip(ended, began, strict=True)), left=left)
        worker.check()
        time.sleep(LOOK_S)
    raise SystemExit(f"icaze bench: not drained within {PATIENCE_S:.0f} s")


def _now(store: Store, worker: Running, servers: Sequence[int]) -> tuple[float, ...]:
    """In the order of a Spell's fields."""
    spent = worker.cpu_us, store.cpu_us, store.call_us(*READS), time.process_time() * 1e6
    return time.monotonic(), *spent, worker.queued_us, sum(map(queued_us, servers))


def say(what: str) -> None:
    """Progress, for people."""
    print(f"icaze bench: {what}", file=sys.stderr, flush=True)
