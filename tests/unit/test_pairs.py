"""Servers asked in turn: the speed of a closed loop, and what ends it."""

import asyncio
import os

import pytest

from bench import pairs
from bench.pairs import Compared, Server, Speed, WrongAnswerError, closed_loop, paired

ASKED = b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"


async def speed(answer: bytes) -> Speed:
    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        while await reader.readline():
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        return await closed_loop(Server(f"http://127.0.0.1:{port}", os.getpid(), [ASKED], 202), 0.05, 2)
    finally:
        server.close()
        await asyncio.gather(*(task for task in serving if task), return_exceptions=True)


async def test_a_closed_loop_asks_again_as_soon_as_it_is_answered() -> None:
    seen = await speed(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
    assert seen.per_s > 200
    assert seen.cpu_us > 0
    assert seen.generator_busy > 0


async def test_a_wrong_answer_ends_the_measurement_instead_of_hanging_it() -> None:
    with pytest.raises(WrongAnswerError, match=r"answered 503: b'no'"):
        await speed(b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno")


def test_something_is_done_before_each_turn_and_who_begins_alternates(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    async def asked(server: Server, _seconds: float, _connections: int) -> Speed:
        said.append(server.url)
        return Speed(float(server.pid), 1.0)

    monkeypatch.setattr(pairs, "closed_loop", asked)
    ours, bare = Server("ours", 2, []), Server("bare", 1, [])
    told = paired(ours, bare, rounds=2, seconds=1, connections=1, before=lambda: said.append("before"))
    warm, first, second = ["ours", "bare"], ["bare", "ours"], ["ours", "bare"]
    assert said == [word for server in (*warm, *first, *second) for word in ("before", server)]
    assert [(pair[0].per_s, pair[1].per_s) for pair in told] == [(2.0, 1.0)] * 2


def test_what_is_told_is_the_median_of_the_rounds_and_a_hundred_sms_are_a_hundred() -> None:
    compared = Compared()
    rounds = [(30.0, 100.0), (50.0, 100.0), (90.0, 100.0)]
    compared.add("array", [(Speed(ours, 200.0), Speed(bare, 100.0)) for ours, bare in rounds], each=100)
    assert compared.figures == {"array_per_s": 5000, "array_cpu_us": 2.0}
    assert compared.references == {"array_bare_per_s": 10_000, "array_bare_cpu_us": 1.0}
    assert compared.ratios == {"array": 0.5, "array_cpu": 0.5}
