"""The load generator: percentiles, latency from the intended start, and what counts as failed."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from bench.line import Line, connected, hang_up, request_bytes
from bench.open_loop import Answers, ask_openly

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
Serve = Callable[[int], Awaitable[bytes | None]]
"""What the server writes to its n-th question; None: it hangs up."""


@asynccontextmanager
async def serving(answer: Serve) -> AsyncGenerator[tuple[str, list[bytes]]]:
    asked: list[bytes] = []
    tasks: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        while head := await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b"":
            length = int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0])
            asked.append(await reader.readexactly(length))
            said = await answer(len(asked))
            if said is None:
                break
            writer.write(said)
        writer.close()
        await writer.wait_closed()

    async def quiet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(quiet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}", asked
    finally:
        server.close()
        await asyncio.gather(*(task for task in tasks if task), return_exceptions=True)


async def at_once(_: int) -> bytes:
    return OK


def test_percentiles_are_values_that_were_measured() -> None:
    answers = Answers([n / 1000 for n in range(1, 1001)], Counter({200: 1000}), [0.0], 2.0, 1000)
    figures = answers.figures()
    assert [figures[name] for name in ("p50_ms", "p99_ms", "p999_ms", "max_ms")] == [500, 990, 999, 1000]
    assert (figures["answered_per_s"], figures["failed"]) == (500, 0)


def test_figures_of_no_answer_are_no_fault() -> None:
    figures = Answers([], Counter(), [], 1.0, 5).figures()
    assert (figures["failed"], figures["p99_ms"]) == (5, 0)


async def test_every_question_is_asked_in_turn_and_counted() -> None:
    async with serving(at_once) as (url, asked):
        requests = [request_bytes(url, "/v1/status", "t", body) for body in (b"a", b"bb", b"ccc")]
        answers = await ask_openly(url, requests, rate=1000, seconds=0.1, connections=4)
    figures = answers.figures()
    assert (figures["asked"], figures["answered"], figures["failed"]) == (100, 100, 0)
    assert Counter(asked) == {b"a": 34, b"bb": 33, b"ccc": 33}


async def test_a_server_that_stands_still_costs_all_that_were_meant_to_be_asked_meanwhile() -> None:
    async def stalls_once(number: int) -> bytes:
        if number == 1:
            await asyncio.sleep(0.3)  # the stall is what is measured
        return OK

    async with serving(stalls_once) as (url, _):
        answers = await ask_openly(url, [request_bytes(url, "/", "t", b"x")], rate=100, seconds=0.2, connections=1)
    assert answers.statuses == {200: 20}
    assert min(answers.latencies_s) > 0.05
    assert sorted(answers.latencies_s)[10] > 0.15  # of a closed loop, nineteen of twenty would be fast


async def test_answers_other_than_200_and_broken_lines_are_failures() -> None:
    async def breaks(number: int) -> bytes | None:
        return {1: OK.replace(b"200 OK", b"503 No"), 2: None}.get(number, OK)

    async with serving(breaks) as (url, _):
        answers = await ask_openly(url, [request_bytes(url, "/", "t", b"x")], rate=1000, seconds=0.05, connections=2)
    assert answers.statuses == {200: 48, 503: 1, 0: 1}
    figures = answers.figures()
    assert (figures["failed"], figures["unanswered"]) == (2, 1)
    assert len(answers.latencies_s) == 50


@pytest.mark.parametrize("all_lines_break", [True, False])
async def test_what_is_never_answered_counts_as_the_longest_wait(
    monkeypatch: pytest.MonkeyPatch, *, all_lines_break: bool
) -> None:
    monkeypatch.setattr("bench.open_loop.LAST_ANSWERS_S", 0.1)
    never = asyncio.Event()

    async def ends(number: int) -> bytes | None:
        if number > 10 and not all_lines_break:
            await never.wait()
        return OK if number <= 10 else None

    async with serving(ends) as (url, _):
        answers = await ask_openly(url, [request_bytes(url, "/", "t", b"x")], rate=200, seconds=0.1, connections=1)
        never.set()
    figures = answers.figures()
    assert (figures["asked"], figures["answered"], figures["failed"], figures["unanswered"]) == (20, 10, 10, 10)
    assert len(answers.latencies_s) == 20
    assert figures["p99_ms"] == figures["max_ms"] > 100
    assert figures["p50_ms"] < figures["max_ms"]


@pytest.mark.parametrize("piece", [1, 7, 38, 1000])
async def test_an_answer_may_arrive_in_pieces(piece: int) -> None:
    heard: list[int] = []
    async with serving(at_once) as (url, _):
        (line,) = await connected(url, 1, lambda _, status: heard.append(status))
        for start in range(0, len(OK), piece):
            assert heard == []
            line.data_received(OK[start : start + piece])
        assert heard == [200]
        hang_up([line])


def test_a_line_that_breaks_while_nothing_is_asked_is_no_failure() -> None:
    heard: list[int] = []
    Line(lambda _, status: heard.append(status)).connection_lost(None)
    assert heard == []
