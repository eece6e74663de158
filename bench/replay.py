"""`icaze replay`: pushes a trace through ingest as aggregators do, over a few connections, in bounded batches.

Reads NDJSON of ingest objects. Writes the journal of what ingest acknowledged, and a summary.
"""

import argparse
import asyncio
import gc
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import msgspec
import uvloop

from bench.progress import count_lines, show
from bench.push import Pusher, PushError, Signer, Tally, pause
from bench.trace import Batch, TraceError, batches

TIMEOUT_S = 30.0  # a common wait of gateways before they push again
_INTERRUPTED = 130


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything one replay needs to know."""

    file: Path
    url: str = "http://127.0.0.1:8103"
    journal: Path | None = None
    rate: float | None = None
    speed: float | None = None
    keep_times: bool = False
    prepare: bool = False
    batch: int = 100
    connections: int = 8
    signer: Signer | None = None
    give_up_s: float = 120.0
    timeout_s: float = TIMEOUT_S
    back_off_s: float = 0.1


class Outcome(msgspec.Struct):
    """How a replay ended: what it did, in how long, and what stopped it (None where it came to the end)."""

    tally: Tally
    seconds: float
    problem: str | None = None
    interrupted: bool = False

    @property
    def rate(self) -> float:
        return self.tally.accepted / self.seconds if self.seconds else 0.0


class Replay:
    """One run: the workers share the batches, so each connection keeps the trace's order."""

    def __init__(self, plan: Plan) -> None:
        self.tally = Tally()
        self.stopping = asyncio.Event()
        self._plan = plan
        self._problem: str | None = None
        self._started_s = time.monotonic()

    async def run(self) -> Outcome:
        """Pushes the trace to its end, or until a stop; what is in flight then is still answered."""
        plan = self._plan
        journal = plan.journal.open("ab", buffering=0) if plan.journal else None
        try:
            with plan.file.open("rb") as lines:
                work = batches(lines, size=plan.batch, rate=plan.rate, speed=plan.speed, keep_times=plan.keep_times)
                if plan.prepare:
                    work = self._prepared(work)
                timeout = aiohttp.ClientTimeout(total=plan.timeout_s)
                connector = aiohttp.TCPConnector(limit=plan.connections)
                async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
                    pusher = Pusher(
                        session,
                        plan.url.rstrip("/") + "/v1/sms",
                        tally=self.tally,
                        stopping=self.stopping,
                        journal=journal,
                        signer=plan.signer,
                        give_up_s=plan.give_up_s,
                        back_off_s=plan.back_off_s,
                    )
                    self._started_s = time.monotonic()
                    await asyncio.gather(*(self._work(pusher, work) for _ in range(plan.connections)))
        finally:
            gc.unfreeze()
            if journal is not None:
                journal.close()
        return self._outcome()

    def _prepared(self, work: Iterator[Batch]) -> Iterator[Batch]:
        """All requests, written; says so, since a measurement begins now."""
        ready = list(work)
        gc.collect()
        gc.freeze()  # no collection should walk over them while time is measured
        print(msgspec.json.encode({"prepared": len(ready)}).decode(), flush=True)
        return iter(ready)

    async def _work(self, pusher: Pusher, work: Iterator[Batch]) -> None:
        """Serves one connection: takes the next batch, waits until it is due, pushes it."""
        try:
            for batch in work:
                early_s = batch.due_s - (time.monotonic() - self._started_s)
                if await pause(early_s, self.stopping):
                    return
                await pusher.push(batch)
        except (PushError, TraceError) as error:
            self._problem = self._problem or str(error)
            self.stopping.set()

    def _outcome(self) -> Outcome:
        tally = self.tally
        interrupted = self.stopping.is_set() and self._problem is None
        unanswered = tally.messages - tally.accepted - tally.rejected
        if self._problem is None and not interrupted and unanswered:
            self._problem = f"{unanswered} messages were neither accepted nor rejected"
        return Outcome(tally, time.monotonic() - self._started_s, self._problem, interrupted)


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.epilog = "With --dry-run it judges the archive by another policy: icaze replay --dry-run --help"
    parser.add_argument("file", type=Path, metavar="FILE", help="NDJSON of ingest objects, as `day` writes them")
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument("--rate", type=_positive, metavar="R", help="messages a second (default: all at once)")
    pace.add_argument("--speed", type=_positive, metavar="X", help="times the trace's own clock")
    parser.add_argument("--journal", type=Path, metavar="FILE", help="append each answered id to this NDJSON")
    parser.add_argument("--url", default="http://127.0.0.1:8103", help="ingest (default %(default)s)")
    parser.add_argument(
        "--batch", type=int, choices=range(1, 1001), default=100, metavar="N", help="messages a request, 1-1000"
    )
    parser.add_argument(
        "--connections", type=int, choices=range(1, 257), default=8, metavar="N", help="requests in flight, 1-256"
    )
    parser.add_argument(
        "--prepare", action="store_true", help='write all requests first, in memory, and say so: {"prepared": n}'
    )
    parser.add_argument("--keep-times", action="store_true", help="send received_at as it stands in the trace")
    parser.add_argument("--secret-file", type=Path, metavar="F", help="sign with this whsec_<base64> secret")
    parser.add_argument(
        "--give-up", type=_positive, default=120.0, metavar="S", help="seconds without a success (default 120)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")


def run(args: argparse.Namespace) -> int:
    """Replays the trace; returns 0 at its end, 1 where it had to stop, 130 after Ctrl-C."""
    try:
        plan = Plan(
            file=args.file,
            url=args.url,
            journal=args.journal,
            rate=args.rate,
            speed=args.speed,
            keep_times=args.keep_times,
            prepare=args.prepare,
            batch=args.batch,
            connections=args.connections,
            signer=Signer(args.secret_file.read_text()) if args.secret_file else None,
            give_up_s=args.give_up,
        )
        outcome = uvloop.run(_watched(plan))
    except (OSError, ValueError) as error:
        print(f"icaze replay: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    print(_report(outcome, as_json=args.json))
    if outcome.problem is not None:
        print(f"icaze replay: {outcome.problem}", file=sys.stderr)
        return 1
    return _INTERRUPTED if outcome.interrupted else 0


async def _watched(plan: Plan) -> Outcome:
    """Runs the replay with a progress display; the first Ctrl-C ends it cleanly, a second one at once."""
    replay = Replay(plan)
    loop = asyncio.get_running_loop()

    def stop(number: int) -> None:
        replay.stopping.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    tally = replay.tally
    display = asyncio.create_task(
        show(
            lambda: tally.accepted + tally.rejected,
            count_lines(plan.file),
            what="messages",
            more=lambda: f", {tally.rejected:,} rejected, {tally.retries:,} retries",
        )
    )
    try:
        return await replay.run()
    finally:
        display.cancel()
        await asyncio.gather(display, return_exceptions=True)


def _report(outcome: Outcome, *, as_json: bool) -> str:
    tally = outcome.tally
    if as_json:
        figures = msgspec.structs.asdict(tally) | {
            "seconds": round(outcome.seconds, 3),
            "rate": round(outcome.rate, 1),
        }
        return msgspec.json.encode(figures).decode()
    return (
        f"{tally.messages:,} messages in {outcome.seconds:,.1f} s: {tally.accepted:,} accepted "
        f"({outcome.rate:,.0f}/s), {tally.rejected:,} rejected, {tally.retries:,} retries"
    )


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be above 0")
    return number
