"""The replayer against a small ingest that answers as told: what is sent, what is journalled, when it stops."""

import argparse
import asyncio
import base64
import hashlib
import hmac
import json
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bench import replay
from bench.push import Signer, Tally
from bench.replay import Plan, Replay

Message = dict[str, Any]
Script = Callable[[int, list[Message]], web.Response | float | None]
ROOT = Path(__file__).parents[2]


class Ingest:
    """Answers request n with what `script(n, messages)` gives: a response, seconds to hang, or None for 202."""

    def __init__(self, script: Script | None = None) -> None:
        self.requests: list[list[Message]] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.arrived = asyncio.Semaphore(0)  # one release a request
        self.gate = asyncio.Event()  # no answer while it is closed
        self.gate.set()
        self._script = script

    async def take(self, request: web.Request) -> web.Response:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            body = await request.read()
            messages = json.loads(body)
            self.requests.append(messages)
            self.bodies.append(body)
            self.headers.append({name.lower(): value for name, value in request.headers.items()})
            told = self._script(len(self.requests), messages) if self._script else None
            self.arrived.release()
            await self.gate.wait()
            if isinstance(told, float):
                await asyncio.sleep(told)
            return told if isinstance(told, web.Response) else accepted(messages)
        finally:
            self.in_flight -= 1

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[str, None]:
        app = web.Application()
        app.router.add_post("/v1/sms", self.take)
        async with TestServer(app) as server:
            yield str(server.make_url("/"))


def accepted(messages: list[Message], refuse: dict[int, str] | None = None) -> web.Response:
    refuse = refuse or {}
    ids = [message["id"] for index, message in enumerate(messages) if index not in refuse]
    rejected = [{"index": index, "error": error} for index, error in refuse.items()]
    return web.json_response({"accepted": len(ids), "ids": ids, "rejected": rejected}, status=202)


def unavailable(wait: str = "0") -> web.Response:
    return web.json_response({"detail": "full"}, status=503, headers={"retry-after": wait})


def trace(path: Path, count: int) -> Path:
    lines = [
        json.dumps(
            {
                "id": f"t-{index}",
                "from": "+994501234567",
                "to": "8103",
                "text": "2 AZE 1111111",
                "received_at": f"2026-01-01T08:00:{index % 60:02d}.000Z",
            }
        )
        for index in range(count)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def plan(tmp_path: Path) -> Callable[..., Plan]:
    def with_values(count: int, url: str, **values: Any) -> Plan:
        values = {"batch": 10, "connections": 2, "back_off_s": 0.001, "give_up_s": 5.0} | values
        return Plan(file=trace(tmp_path / "trace.ndjson", count), url=url, journal=tmp_path / "journal", **values)

    return with_values


def journal(plan: Plan) -> list[Message]:
    assert plan.journal is not None
    return [json.loads(line) for line in plan.journal.read_text().splitlines()]


async def test_every_accepted_id_is_journalled_once_with_its_time(plan: Callable[..., Plan]) -> None:
    ingest = Ingest()
    async with ingest.serving() as url:
        this = plan(95, url)
        before_ms = time.time_ns() // 1_000_000
        outcome = await Replay(this).run()
    assert outcome.problem is None
    assert outcome.tally == Tally(messages=95, accepted=95)
    assert sorted(line["id"] for line in journal(this)) == sorted(f"t-{index}" for index in range(95))
    assert all(before_ms <= line["acked_ms"] <= time.time_ns() // 1_000_000 for line in journal(this))


async def test_one_connection_keeps_the_order_and_several_stay_within_their_number(
    plan: Callable[..., Plan],
) -> None:
    single, several = Ingest(), Ingest(lambda _n, _m: 0.002)
    async with single.serving() as url:
        await Replay(plan(50, url, connections=1)).run()
    sent = [message["id"] for messages in single.requests for message in messages]
    assert sent == [f"t-{index}" for index in range(50)]
    async with several.serving() as url:
        await Replay(plan(100, url, connections=3)).run()
    assert several.most_in_flight == 3


async def test_received_at_is_dropped_unless_times_are_kept(plan: Callable[..., Plan]) -> None:
    ingest = Ingest()
    async with ingest.serving() as url:
        await Replay(plan(1, url)).run()
        await Replay(plan(1, url, keep_times=True)).run()
    dropped, kept = ingest.requests[0][0], ingest.requests[1][0]
    assert kept == dropped | {"received_at": "2026-01-01T08:00:00.000Z"}
    assert "received_at" not in dropped


async def test_503_repeats_the_same_batch_and_journals_it_once(plan: Callable[..., Plan]) -> None:
    ingest = Ingest(lambda number, _: unavailable() if number <= 2 else None)
    async with ingest.serving() as url:
        this = plan(10, url)
        outcome = await Replay(this).run()
    assert ingest.requests[0] == ingest.requests[1] == ingest.requests[2]
    assert outcome.tally == Tally(messages=10, accepted=10, retries=2)
    assert len(journal(this)) == 10


async def test_retry_after_is_waited_for(plan: Callable[..., Plan]) -> None:
    ingest = Ingest(lambda number, _: unavailable("1") if number == 1 else None)
    async with ingest.serving() as url:
        outcome = await Replay(plan(1, url)).run()
    assert 1.0 <= outcome.seconds < 3.0


async def test_429_is_tried_again(plan: Callable[..., Plan]) -> None:
    ingest = Ingest(lambda number, _: web.Response(status=429) if number == 1 else None)
    async with ingest.serving() as url:
        outcome = await Replay(plan(1, url)).run()
    assert outcome.tally == Tally(messages=1, accepted=1, retries=1)


async def test_a_timeout_leaves_the_outcome_open_and_sends_the_same_ids(plan: Callable[..., Plan]) -> None:
    ingest = Ingest(lambda number, _: 30.0 if number == 1 else None)
    async with ingest.serving() as url:
        this = plan(10, url, timeout_s=0.1)
        outcome = await Replay(this).run()
    assert ingest.requests[0] == ingest.requests[1]
    assert outcome.tally == Tally(messages=10, accepted=10, retries=1)
    assert len(journal(this)) == 10


async def test_partial_rejection_is_journalled_with_its_error(plan: Callable[..., Plan]) -> None:
    ingest = Ingest(lambda _, messages: accepted(messages, {3: "text is too long"}))
    async with ingest.serving() as url:
        this = plan(10, url)
        outcome = await Replay(this).run()
    assert outcome.problem is None
    assert outcome.tally == Tally(messages=10, accepted=9, rejected=1)
    lines = {line["id"]: line for line in journal(this)}
    assert lines["t-3"] == {"id": "t-3", "rejected": "text is too long"}
    assert all("acked_ms" in line for id_, line in lines.items() if id_ != "t-3")


@pytest.mark.parametrize("status", [400, 401, 413, 404])
async def test_what_ingest_refuses_stops_the_replay_with_its_detail(plan: Callable[..., Plan], status: int) -> None:
    ingest = Ingest(
        lambda number, _: (
            web.json_response({"title": "no", "detail": "the reason"}, status=status) if number == 3 else None
        )
    )
    async with ingest.serving() as url:
        this = plan(100, url, connections=1)
        outcome = await Replay(this).run()
    assert outcome.problem == f"{status} the reason"
    assert len(ingest.requests) == 3
    assert len(journal(this)) == outcome.tally.accepted == 20


async def test_a_dead_ingest_is_given_up(plan: Callable[..., Plan]) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        outcome = await Replay(plan(10, f"http://127.0.0.1:{held.getsockname()[1]}", give_up_s=0.2)).run()
    assert outcome.problem is not None
    assert outcome.problem.startswith("no success for 0 s; the last answer: ")
    assert 0.2 <= outcome.seconds < 2.0
    assert outcome.tally.accepted == 0
    assert outcome.tally.retries > 1


async def test_an_unreadable_2xx_is_not_taken_for_an_answer(plan: Callable[..., Plan]) -> None:
    ingest = Ingest(lambda _n, _m: web.Response(status=202, text="OK"))
    async with ingest.serving() as url:
        this = plan(10, url)
        outcome = await Replay(this).run()
    assert outcome.problem is not None
    assert "cannot be read" in outcome.problem
    assert journal(this) == []


async def test_messages_that_ingest_forgets_are_noticed(plan: Callable[..., Plan]) -> None:
    ingest = Ingest(lambda _, messages: accepted(messages[1:]))
    async with ingest.serving() as url:
        outcome = await Replay(plan(20, url)).run()
    assert outcome.problem == "2 messages were neither accepted nor rejected"


async def test_a_stop_lets_what_is_in_flight_be_answered_and_journalled(plan: Callable[..., Plan]) -> None:
    ingest = Ingest()
    ingest.gate.clear()
    async with ingest.serving() as url:
        this = plan(1_000, url)
        run = Replay(this)
        running = asyncio.create_task(run.run())
        await ingest.arrived.acquire()
        await ingest.arrived.acquire()
        run.stopping.set()
        ingest.gate.set()
        outcome = await running
    assert outcome.interrupted
    assert outcome.problem is None
    assert outcome.tally == Tally(messages=20, accepted=20)
    assert len(journal(this)) == 20


async def test_a_stop_ends_waiting_for_a_retry(plan: Callable[..., Plan]) -> None:
    ingest = Ingest(lambda _n, _m: unavailable("4"))
    async with ingest.serving() as url:
        run = Replay(plan(10, url))
        running = asyncio.create_task(run.run())
        await ingest.arrived.acquire()
        run.stopping.set()
        outcome = await running
    assert outcome.interrupted
    assert outcome.seconds < 2.0


async def test_a_rate_is_kept(plan: Callable[..., Plan]) -> None:
    async with Ingest().serving() as url:
        outcome = await Replay(plan(101, url, rate=400.0)).run()
    assert outcome.tally.accepted == 101
    assert 0.25 <= outcome.seconds < 1.0


async def test_signed_requests_verify_and_a_retry_keeps_its_webhook_id(plan: Callable[..., Plan]) -> None:
    key = b"k" * 32
    signer = Signer(f"whsec_{base64.b64encode(key).decode()}\n")
    ingest = Ingest(lambda number, _: unavailable() if number == 1 else None)
    async with ingest.serving() as url:
        await Replay(plan(20, url, signer=signer, connections=1)).run()
    for headers, body in zip(ingest.headers, ingest.bodies, strict=True):
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"
    ids = [headers["webhook-id"] for headers in ingest.headers]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_???"])
def test_a_secret_that_is_none_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="secret"):
        Signer(secret)


async def test_a_broken_trace_stops_the_replay_after_what_came_before(
    plan: Callable[..., Plan],
) -> None:
    async with Ingest().serving() as url:
        this = plan(20, url)
        with this.file.open("a") as file:
            file.write("nonsense\n")
        outcome = await Replay(this).run()
    assert outcome.problem is not None
    assert outcome.problem.startswith("line 21: ")
    assert len(journal(this)) == 20


@pytest.fixture
def threaded_url() -> Iterator[str]:
    """An ingest on a loop of its own, for the command, which runs its own loop too."""
    loop = asyncio.new_event_loop()
    server = TestServer(web.Application())
    server.app.router.add_post("/v1/sms", Ingest().take)
    loop.run_until_complete(server.start_server())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield str(server.make_url("/"))
    asyncio.run_coroutine_threadsafe(server.close(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def parsed(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    replay.configure(parser)
    return parser.parse_args(argv)


def test_the_command_prints_one_json_object(
    tmp_path: Path, threaded_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay.run(parsed(str(trace(tmp_path / "t", 7)), "--url", threaded_url, "--json")) == 0
    printed = json.loads(capsys.readouterr().out)
    assert list(printed) == ["messages", "accepted", "rejected", "retries", "seconds", "rate"]
    assert (printed["messages"], printed["accepted"]) == (7, 7)


def test_requests_that_are_written_first_are_told_before_the_first_is_sent(
    tmp_path: Path, threaded_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--url", threaded_url, "--json", "--prepare", "--batch", "2")
    assert replay.run(parsed(str(trace(tmp_path / "t", 7)), *words)) == 0
    ready, done = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert ready == {"prepared": 4}
    assert done["accepted"] == 7


def test_a_broken_trace_is_told_before_anything_is_sent(
    tmp_path: Path, threaded_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t").write_text('{"id": "a"}\nnonsense\n')
    assert replay.run(parsed(str(tmp_path / "t"), "--url", threaded_url, "--prepare")) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "line 2" in told.err


def test_the_command_prints_a_sentence_for_people(
    tmp_path: Path, threaded_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay.run(parsed(str(trace(tmp_path / "t", 7)), "--url", threaded_url)) == 0
    assert "7 messages in " in capsys.readouterr().out


def test_the_command_says_where_there_is_no_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay.run(parsed(str(tmp_path / "none"))) == 1
    assert "No such file" in capsys.readouterr().err


def test_rate_and_speed_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("file", "--rate", "1", "--speed", "1")
    assert "not allowed with" in capsys.readouterr().err


async def test_ctrl_c_ends_the_command_cleanly(plan: Callable[..., Plan]) -> None:
    async with (ingest := Ingest(lambda _n, _m: 0.01)).serving() as url:
        this = plan(10_000, url)
        code = "import argparse, sys; from bench import replay; p = argparse.ArgumentParser();"
        code += "replay.configure(p); sys.exit(replay.run(p.parse_args()))"
        argv = [str(this.file), "--url", url, "--journal", str(this.journal), "--batch", "10", "--json"]
        command = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, *argv, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(5):
            await ingest.arrived.acquire()
        command.send_signal(signal.SIGINT)
        out, _ = await command.communicate()
    assert command.returncode == 130
    answered = [message["id"] for messages in ingest.requests for message in messages]
    assert sorted(line["id"] for line in journal(this)) == sorted(answered)
    assert json.loads(out)["accepted"] == len(answered)
