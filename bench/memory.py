"""`icaze bench memory`: the lasting bytes that a decided message leaves in the store.

Drains a backlog, lets a dispatcher take the replies, and asks the store for the size of every key that is left:
records, senders of permits, counters and phones that come often are the state; the audit trail stands apart, and so
does what a store has once (leases, groups, the layout); all other streams must be empty.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Final

from bench import naive
from bench.arguments import backlog_conditions, of_backlog
from bench.backlog import Backlog
from bench.drain import dispatched
from bench.measurement import Measurement, Target, conditions, rounded
from bench.peers.peer import SMS, replied, verdicts
from bench.role import role
from bench.spell import say, watch
from bench.store import Store, opened

STATE: Final = {"records": "day:*", "senders": "senders:*", "counters": "counts:*", "phones": "phone:*"}
SHARED_S: Final = 2.0
"""A worker writes the phones that it counts once a second: what has not grown for two is all of them."""
OTHER_STREAMS: Final = ("inbound", "replies", "dead", "outbox", "applications", "acts", "imports")
TARGETS: Final = {"state_bytes": Target(90, 60), "other_streams_entries": Target(0, 0)}


def configure(parser: argparse.ArgumentParser) -> None:
    """How much."""
    of_backlog(parser, messages=100_000)


def measure(arguments: argparse.Namespace) -> Measurement:
    """All rounds, and their medians."""
    with tempfile.TemporaryDirectory(prefix="icaze-memory-") as name:
        return _rounds(arguments, Path(name))


def _rounds(arguments: argparse.Namespace, folder: Path) -> Measurement:
    backlog = Backlog.asked_for(arguments, folder)
    rounds: list[dict[str, float]] = []
    for number in range(arguments.repeats):
        say(f"round {number + 1} of {arguments.repeats}: the worker, then the dispatcher")
        rounds.append(left_behind(backlog, folder))
    say("the naive script")
    naive_bytes = left_by_naive(backlog, folder)
    figures = {name: median(one[name] for one in rounds) for name in rounds[0]}
    return Measurement(
        measurement="memory",
        conditions=conditions(
            **backlog_conditions(arguments),
            generator_busy=figures.pop("generator_busy"),
            naive_client=naive.OWN_CLIENT,
        ),
        figures=rounded(figures),
        references=rounded({"naive_state_bytes": naive_bytes}),
        ratios=rounded({"naive_state": naive_bytes / figures["state_bytes"]}),
        targets=TARGETS,
    )


def left_behind(backlog: Backlog, folder: Path) -> dict[str, float]:
    """Bytes a message, and entries of the streams that should be empty."""
    count = backlog.messages
    with opened(folder / f"ours-{time.monotonic_ns()}", fsync=True) as store:
        empty = store.used
        store.fill(backlog.appends())
        with role("process", store.url, folder, len(backlog.partitions)) as worker:
            spell = watch(store, worker, backlog.inbound, count)
            phones_shared(store)
        dispatched(store, backlog, folder)
        parts = {f"{name}_bytes": store.bytes_of(pattern) / count for name, pattern in STATE.items()}
        state, audit = sum(parts.values()), store.bytes_of("audit:*") / count
        grown = (store.used - empty) / count
        streams = [f"{name}:{{{keys.tag}}}" for name in OTHER_STREAMS for keys in backlog.partitions]
        return {
            "state_bytes": state,
            **parts,
            "audit_bytes": audit,
            "other_keys_bytes": store.bytes_of("*") / count - state - audit,
            "other_streams_entries": store.lengths(streams),
            "store_growth_bytes": grown,
            "generator_busy": spell.generator_us / 1e6 / spell.seconds,
        }


def phones_shared(store: Store) -> None:
    """Returns when the worker has written all phones that it counts; it writes none when it ends."""
    before = -1
    while (now := store.bytes_of(STATE["phones"])) != before:
        before = now
        time.sleep(SHARED_S)


def left_by_naive(backlog: Backlog, folder: Path) -> float:
    """Bytes a message of the naive script on the same SMS, its replies left out."""
    with opened(folder / "naive", fsync=False) as store:
        sha = naive.load(store)
        empty = store.used
        messages = [SMS.decode(line) for line in backlog.peer_sms]
        naive.pipelined(store.socket, [naive.call(sha, m.id, m.sender, m.purpose, m.document) for m in messages])
        told = replied(store)
        if told != verdicts(messages):
            raise SystemExit(f"icaze bench: the naive script told {told}")
        return (store.used - empty - store.bytes_of("replies")) / backlog.messages
