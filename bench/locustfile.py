# pyright: basic
"""Locust's suite: aggregators, mygov.az, the police and a dispatcher of somebody's own, all at once.

Nothing imports this file but Locust, which patches the standard library for its green threads. Run by `bench.swarm`; by
hand: `locust -f bench/locustfile.py --help`.

Its users wait for their answers and it rounds what they waited, so its times flatter a system that stands still. It
shows scenarios and finds what breaks; service levels come from `bench.peak` and `bench.ingest`.
"""

import json
import os
import random
import time
import uuid
from collections.abc import Iterator
from datetime import date
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import redis
from locust import FastHttpUser, LoadTestShape, User, constant_throughput, events, task
from locust.runners import WorkerRunner

from bench import shapes
from bench.day import generate
from bench.posts import SECRET
from bench.push import Signer
from permits.messages import ENCODER, InboundSms
from permits.partition import Route
from permits.sms import read

ARRAY = 100
KEPT = 1_000_000  # SMS of a day that this process draws from; at a hundred a second that is three hours
READER_PER_S = 10.0
STATUS_USERS = 80  # 800 questions a second: the burst of status look-ups at national size
CHECK_USERS = 10  # 100 checks a second
STREAM_USERS = 2
ASKED_ABOUT = 500  # documents; an api counts those that one client asks about
APPEND_PER_S = 5.0
NOBODYS = "AZE00000000"
GROUP = "locust"
READ_COUNT = 200
READ_BLOCK_MS = 50
# Tokens by blanks, in the environment: they are secrets.
ROLES = {"status": "LOCUST_MYGOV_TOKENS", "checks": "LOCUST_POLICE_TOKENS"}


@events.init_command_line_parser.add_listener
def _arguments(parser: Any) -> None:
    parser.add_argument("--shape", choices=sorted(shapes.SHAPES), default="n1", help="of the pushed SMS")
    parser.add_argument("--scale", type=float, default=1.0, help="times the shape's rates")
    parser.add_argument("--stretch", type=float, default=1.0, help="times the shape's length")
    parser.add_argument("--readers", type=float, default=1.0, help="times the questions of mygov.az and the police")
    parser.add_argument("--ingest", default="http://127.0.0.1:8103", help="ingest's door")
    parser.add_argument("--api", default="http://127.0.0.1:8104", help="the api's door")
    parser.add_argument("--store", default="", help="the store; empty: nobody reads or appends to streams")
    parser.add_argument("--routing-key", default="", help="file of the key that maps documents to partitions")


@events.init.add_listener
def _doors(environment: Any, **_: Any) -> None:
    """Say who asks where, and how many read; each process gets a crowd of its own."""
    options = environment.parsed_options
    IngestUser.crowd = Crowd(os.getpid())
    for user in (SinglePosts, Arrays):
        user.host = options.ingest
    for user, count in ((StatusQuestions, STATUS_USERS), (Checks, CHECK_USERS)):
        user.host = options.api
        user.fixed_count = round(count * options.readers) if os.environ.get(ROLES[user.name]) else 0
    Streams.fixed_count = STREAM_USERS if options.store and options.routing_key else 0
    for user in (StatusQuestions, Checks, Streams):
        if not user.fixed_count:
            environment.user_classes.remove(user)


@events.quitting.add_listener
def _leave(environment: Any, **_: Any) -> None:
    """Take our group off the streams: replies wait for every registered one.

    Of several processes the master does, when all have ended: the readers of another would find their group gone. At
    `test_stop` it has not told them yet.
    """
    options = environment.parsed_options
    if isinstance(environment.runner, WorkerRunner):
        return
    if options.store and options.routing_key:
        with redis.Redis.from_url(options.store) as store:
            for tag in tags_of(store):
                store.hdel(f"groups:{{{tag}}}", GROUP)
                store.xgroup_destroy(f"replies:{{{tag}}}", GROUP)


class Shape(LoadTestShape):
    """The shape named on the command line, and the readers beside it."""

    def tick(self) -> tuple[int, float] | None:
        """Asked once a second."""
        runner: Any = self.runner
        options = runner.environment.parsed_options
        shape = shapes.SHAPES[options.shape]
        pushing = shapes.users(shape, self.get_run_time(), scale=options.scale, stretch=options.stretch)
        total = runner.stats.total
        p95_ms = total.get_current_response_time_percentile(0.95) or 0.0
        if pushing is None or (shape.until_broken and shapes.broken(failures=total.fail_ratio, p95_ms=p95_ms)):
            return None
        count = pushing + sum(user.fixed_count for user in runner.environment.user_classes)
        return count, float(count)


class Crowd:
    """A launch day's SMS under ids of this run: with repeats, and with texts that cannot be read."""

    def __init__(self, seed: int) -> None:
        run = uuid.uuid4().hex[:12]
        self._drawn: Iterator[dict[str, str]] = (
            {"id": f"{run}-{sms.id}", "from": sms.sender, "to": sms.to, "text": sms.text}
            for sms, _ in generate(KEPT, seed, "launch", date(2026, 1, 1))
        )
        self.signer = Signer(SECRET)
        self.documents: list[str] = []
        """Of this run's first SMS: what is asked about, since guessing others is refused."""

    def next(self, count: int) -> list[dict[str, str]]:
        """The next SMS of the day."""
        taken = list(islice(self._drawn, count))
        if len(self.documents) < ASKED_ABOUT:
            self.documents += [document for sms in taken if (document := read(sms["text"]).document)]
        return taken


class IngestUser(FastHttpUser):
    """A line of an aggregator: ten SMS a second, in requests of its own size."""

    abstract = True
    crowd: Crowd
    size = 1
    called = ""

    def on_start(self) -> None:
        """Not all at once: a line joins somewhere between two of its posts."""
        time.sleep(random.random() * self.size / shapes.SMS_PER_USER)

    @task
    def push(self) -> None:
        """One request, signed; whatever is not 202 is a failure."""
        batch = self.crowd.next(self.size)
        body: Any = json.dumps(batch[0] if self.size == 1 else batch, ensure_ascii=False).encode()
        signed = self.crowd.signer.headers(uuid.uuid4().hex, int(time.time()), body)
        headers = signed | {"content-type": "application/json"}
        with self.client.post("/v1/sms", data=body, headers=headers, name=self.called, catch_response=True) as answer:
            if answer.status_code != 202:
                answer.failure(f"{answer.status_code}")
            elif (accepted := answer.json()["accepted"]) != len(batch):
                answer.failure(f"{len(batch) - accepted} not accepted")


class SinglePosts(IngestUser):
    """One SMS a request."""

    weight = 1
    called = "ingest: one SMS"
    wait_time = constant_throughput(shapes.SMS_PER_USER)


class Arrays(IngestUser):
    """A hundred: a request every ten seconds of each of many lines."""

    weight = 9
    size = ARRAY
    called = "ingest: a hundred SMS"
    wait_time = constant_throughput(shapes.SMS_PER_USER / ARRAY)


class Reader(FastHttpUser):
    """Somebody who asks the api about documents that SMS asked permits for."""

    abstract = True
    name = ""
    wait_time = constant_throughput(READER_PER_S)

    def on_start(self) -> None:
        """Somewhere between two questions of the others."""
        time.sleep(random.random() / READER_PER_S)
        self.headers = {"authorization": f"Bearer {random.choice(os.environ[ROLES[self.name]].split())}"}

    @task
    def ask(self) -> None:
        """One question; whatever is not 200 is a failure."""
        known = IngestUser.crowd.documents
        about = {"document": random.choice(known) if known else NOBODYS}
        self.client.post(f"/v1/{self.name}", json=about, headers=self.headers, name=f"api: {self.name}")


class StatusQuestions(Reader):
    """mygov.az."""

    name = "status"


class Checks(Reader):
    """The police; each check is recorded before its answer."""

    name = "checks"


class Streams(User):
    """Another program on the streams: appends SMS as ingest would, and reads all replies as a registered group."""

    wait_time = constant_throughput(APPEND_PER_S)

    def on_start(self) -> None:
        """Register with every partition; doing it again changes nothing."""
        options = self.environment.parsed_options
        self.store: Any = redis.Redis.from_url(options.store)
        self.tags = tags_of(self.store)
        self.route = Route(key=Path(options.routing_key).read_bytes(), partitions=len(self.tags))
        self.consumer = uuid.uuid4().hex[:8]
        self.streams = [f"replies:{{{tag}}}" for tag in self.tags]
        self.halves = cycle((self.streams[::2], self.streams[1::2]))
        pipe = self.store.pipeline(transaction=False)
        for tag in self.tags:
            keys = f"replies:{{{tag}}}", f"groups:{{{tag}}}"
            pipe.execute_command("FCALL", "permits_v2_register", 2, *keys, GROUP, int(time.time() * 1000))
        pipe.execute()

    def on_stop(self) -> None:
        """Let go of the connection."""
        self.store.close()

    @task
    def append(self) -> None:
        """One SMS onto the stream of its partition; told as one request."""
        sms = IngestUser.crowd.next(1)[0]
        now_ms = int(time.time() * 1000)
        inbound = InboundSms(sms["id"], "locust", sms["from"], sms["to"], sms["text"], now_ms)
        partition, _ = self.route.owner(read(inbound.text).document, inbound.sender)
        self._timed("XADD inbound", "XADD", f"inbound:{{{self.tags[partition]}}}", "*", "m", ENCODER.encode(inbound))

    @task(2)
    def take(self) -> None:
        """Read replies of half of the partitions, and acknowledge them."""
        streams = next(self.halves)
        at = [GROUP, self.consumer, "COUNT", READ_COUNT, "BLOCK", READ_BLOCK_MS, "STREAMS", *streams]
        found = self._timed("XREADGROUP replies", "XREADGROUP", "GROUP", *at, *[">"] * len(streams))
        pipe = self.store.pipeline(transaction=False)
        for stream, entries in dict(found or {}).items():
            pipe.xack(stream, GROUP, *(entry[0] for entry in entries))
        pipe.execute()

    def _timed(self, called: str, *command: Any) -> Any:
        """Run a command, and tell Locust how it went."""
        began_s, answer, error = time.perf_counter(), None, None
        try:
            answer = self.store.execute_command(*command)
        except redis.RedisError as raised:
            error = raised
        self.environment.events.request.fire(
            request_type="redis",
            name=called,
            response_time=(time.perf_counter() - began_s) * 1000,
            response_length=0,
            exception=error,
            context={},
        )
        return answer


def tags_of(store: Any) -> list[str]:
    """The partitions' tags, in order."""
    return json.loads(store.get("layout") or b"{}")["tags"]
