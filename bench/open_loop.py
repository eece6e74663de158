"""Questions at their intended times, whether or not earlier ones are answered; latency from then on.

The engine asks any door: the api here, ingest in `passage`.
`icaze bench open-loop --url … --token … --documents FILE` asks an api that runs; with `--with-pipeline` it starts a
whole system, and pushes the SMS of a launch day through it meanwhile.
"""

import argparse
import asyncio
import json
import random
import subprocess
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop

from bench import api_house
from bench.api_house import ApiHouse
from bench.arguments import positive, positive_number
from bench.latencies import Latencies
from bench.line import Line, connected, hang_up, request_bytes
from bench.machine import OwnTime
from bench.measurement import Measurement, Target, conditions
from bench.progress import show
from permits import sms

CONNECTIONS: Final = 64
TICK_S: Final = 0.001
"""uvloop's timers count whole milliseconds: a question leaves up to one late, and its latency says so."""
LAST_ANSWERS_S: Final = 10.0
SMS_RATE: Final = 333
"""A second in the busiest minute of a launch day at national size."""
SETTLE_S: Final = 3.0
"""Of the SMS before the first question, so that what is asked about is there."""

Hear = Callable[[int, int, bytes], None]
"""Told of every answer: the question's number, the status (0: the connection broke), and the body."""


class Answers(msgspec.Struct):
    """What came back."""

    latencies_s: list[float]
    """Those that were never answered have the longest wait of all."""
    statuses: Counter[int]
    """0: the connection broke."""
    late_s: list[float]
    """How long after its time each question was sent."""
    seconds: float
    asked: int
    unanswered: int = 0
    """The connection broke, or the patience ended."""
    expected: int = 200
    """The status of a right answer."""
    began_wall_s: float = 0.0
    """When the first question was meant to be asked."""

    def figures(self) -> dict[str, float]:
        """As a report shows them."""
        right = self.statuses[self.expected]
        return {
            "asked": self.asked,
            "answered": right,
            "failed": self.asked - right,
            "unanswered": self.unanswered,
            "answered_per_s": round(right / self.seconds, 1),
            **Latencies(self.latencies_s).figures(),
            "sent_late_p99_ms": Latencies(self.late_s).at_ms(0.99),
        }


async def ask_openly(
    url: str,
    requests: Sequence[bytes],
    *,
    rate: float,
    seconds: float,
    connections: int = CONNECTIONS,
    expected: int = 200,
    hear: Hear | None = None,
    what: str = "questions",
) -> Answers:
    """Ask in turn, `rate` a second; a question that finds no free line waits, and its waiting counts."""
    idle: list[Line] = []
    due: deque[tuple[int, float]] = deque()
    count = round(rate * seconds)
    answers = Answers([], Counter(), [], seconds, count, expected=expected)
    asking: set[Line] = set()
    lost: list[float] = []
    all_ended = asyncio.Event()
    request = cycle(requests)

    def answered(line: Line, status: int) -> None:
        if line not in asking:  # given up
            return
        asking.remove(line)
        answers.statuses[status] += 1
        if status:
            answers.latencies_s.append(time.perf_counter() - line.intended_s)
            idle.append(line)
            send()
        else:
            lost.append(line.intended_s)
        if hear is not None:
            hear(line.number, status, line.answer)
        if answers.statuses.total() == count:
            all_ended.set()

    def send() -> None:
        while due and idle:
            line = idle.pop()
            line.number, line.intended_s = due.popleft()
            answers.late_s.append(time.perf_counter() - line.intended_s)
            asking.add(line)
            line.ask(next(request))

    lines = await connected(url, connections, answered)
    idle += lines
    display = asyncio.create_task(show(answers.statuses.total, count, what=what))
    began_s, answers.began_wall_s = time.perf_counter(), time.time()
    for number in range(count):
        intended_s = began_s + number / rate
        while (early_s := intended_s - time.perf_counter()) > 0:
            send()
            await asyncio.sleep(max(early_s, TICK_S))
        due.append((number, intended_s))
    send()
    await asyncio.wait({asyncio.ensure_future(all_ended.wait())}, timeout=LAST_ANSWERS_S)
    ended_s = time.perf_counter()
    answers.seconds = ended_s - began_s
    lost += [*(at_s for _, at_s in due), *(line.intended_s for line in asking)]
    asking.clear()
    answers.unanswered = len(lost)
    if lost:
        longest_s = max(ended_s - min(lost), *answers.latencies_s)
        answers.latencies_s += [longest_s] * len(lost)
    display.cancel()
    await asyncio.gather(display, return_exceptions=True)
    hang_up(lines)
    return answers


def configure(parser: argparse.ArgumentParser) -> None:
    """Rate, time, and whom to ask what."""
    parser.add_argument("--rate", type=positive_number, default=1000.0, help="questions a second (default 1000)")
    parser.add_argument("--seconds", type=positive_number, default=60.0, help="how long (default 60)")
    parser.add_argument(
        "--connections", type=positive, default=CONNECTIONS, help="lines to the api (default %(default)s)"
    )
    parser.add_argument("--url", default="http://127.0.0.1:8104", help="the api (default %(default)s)")
    parser.add_argument("--path", default="/v1/status", help="what is asked (default %(default)s)")
    parser.add_argument("--token", help="what the questions carry")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--documents", type=Path, metavar="FILE", help="documents to ask about, one a line")
    what.add_argument("--body-file", type=Path, metavar="FILE", help="one body for all questions")
    parser.add_argument("--with-pipeline", action="store_true", help="of a system of its own, while SMS go through it")


def measure(arguments: argparse.Namespace) -> Measurement:
    """The answers' figures; every question must be answered with 200."""
    meanwhile: dict[str, Any] = {}
    if arguments.with_pipeline:
        figures, busy = _with_pipeline(arguments)
        meanwhile = {"messages": figures["sms_accepted"], "mix": "launch", "sms_rate": SMS_RATE}
    else:
        answers, busy = _answers(arguments, arguments.url, arguments.token or "", _bodies(arguments))
        figures = answers.figures()
    return Measurement(
        measurement="open-loop",
        conditions=conditions(
            **meanwhile,
            own_store=arguments.with_pipeline,
            generator_busy=busy,
            rate=arguments.rate,
            seconds=arguments.seconds,
            path=arguments.path,
            connections=arguments.connections,
            generators="on the same cores",
        ),
        figures=figures,
        targets={"failed": Target(0, 0)},
    )


def _answers(arguments: argparse.Namespace, url: str, token: str, bodies: Sequence[bytes]) -> tuple[Answers, float]:
    """And the share of a core that asking took."""
    requests = [request_bytes(url, arguments.path, token, body) for body in bodies]
    rate, seconds, connections = arguments.rate, arguments.seconds, arguments.connections
    own = OwnTime()
    answers = uvloop.run(ask_openly(url, requests, rate=rate, seconds=seconds, connections=connections))
    return answers, own.busy


def _bodies(arguments: argparse.Namespace) -> list[bytes]:
    if arguments.body_file:
        return [_read(arguments.body_file).encode()]
    if arguments.documents:
        documents = _read(arguments.documents).split()
        if not documents:
            raise SystemExit(f"open_loop: {arguments.documents}: names no document")
        return [_about(document) for document in documents]
    raise SystemExit("open_loop: --documents, --body-file or --with-pipeline is needed")


def _with_pipeline(arguments: argparse.Namespace) -> tuple[dict[str, float], float]:
    """The figures, and what asking took of a core, while SMS pass; half of the documents have had one."""
    with tempfile.TemporaryDirectory(prefix="icaze-open-") as name, api_house.opened(Path(name), {}) as house:
        trace = Path(name) / "trace.ndjson"
        messages = int(SMS_RATE * (arguments.seconds + SETTLE_S))
        house.run("day", "--messages", str(messages), "--seed", "8103", "--mix", "launch", "-o", str(trace))
        replay = _replay(house, trace)
        time.sleep(SETTLE_S)
        role = "police" if arguments.path == "/v1/checks" else "mygov"
        answers, busy = _answers(arguments, house.doors["api"], house.tokens(role, 1)[0], _mixed(trace))
        pushed = json.loads(replay.communicate()[0])
    return answers.figures() | {"sms_accepted": pushed["accepted"], "sms_per_s": pushed["rate"]}, busy


def _replay(house: ApiHouse, trace: Path) -> "subprocess.Popen[bytes]":
    words = ["replay", str(trace), "--url", house.doors["ingest"], "--rate", str(SMS_RATE), "--batch", "10", "--json"]
    return subprocess.Popen([*api_house.ICAZE, *words], env=house.environ, stdout=subprocess.PIPE)


def _mixed(trace: Path) -> list[bytes]:
    """Questions about documents of the trace's beginning and as many that nobody has, in a random order."""
    with trace.open() as lines:
        texts = [json.loads(line)["text"] for line, _ in zip(lines, range(int(SMS_RATE * SETTLE_S)), strict=False)]
    known = {document for text in texts if (document := sms.read(text).document)}
    draw = random.Random(8103)
    documents = [*known, *(f"AZE{draw.randrange(10**8):08}" for _ in known)]
    draw.shuffle(documents)
    return [_about(document) for document in documents]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SystemExit(f"open_loop: {path}: {error}") from None


def _about(document: str) -> bytes:
    return json.dumps({"document": document}).encode()
