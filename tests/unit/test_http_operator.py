"""The http operator: what each answer, and each failure to answer, says of the replies that were posted."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from dispatch.operators.http import HttpOperator
from dispatch.operators.port import Outcome, Parcel
from dispatch.post import ERROR_PAUSE_S, LONGEST_PAUSE_S, MISCONFIGURED_PAUSE_S

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

PARCELS = [Parcel(id=f"r-{index}", body=json.dumps({"id": f"r-{index}"}).encode()) for index in range(4)]
EVERY = frozenset(parcel.id for parcel in PARCELS)


@asynccontextmanager
async def operator_at(url: str, *, timeout_s: float = 5, connections: int = 4) -> AsyncGenerator[HttpOperator, None]:
    operator = HttpOperator(url, timeout_s=timeout_s, connections=connections)
    try:
        yield operator
    finally:
        await operator.close()


@asynccontextmanager
async def serving(handler: Handler) -> AsyncGenerator[str, None]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    async with TestServer(app) as server:
        yield str(server.make_url("/"))


@asynccontextmanager
async def speaking(answer: bytes) -> AsyncGenerator[str, None]:
    """A server that knows no HTTP: reads a little, says its bytes, hangs up."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"]")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def outcome_of(response: Callable[[], web.StreamResponse]) -> Outcome:
    async def answer(_: web.Request) -> web.StreamResponse:
        return response()

    async with serving(answer) as url, operator_at(url) as operator:
        return await operator.send(PARCELS)


async def of_results(*results: Any) -> Outcome:
    return await outcome_of(lambda: web.json_response({"results": results}))


def took_nothing(outcome: Outcome) -> bool:
    """Whether the next send of everything is surely its first."""
    return not outcome.accepted and not outcome.refused and (not outcome.unknown or outcome.retry == EVERY)


def nobody_knows(outcome: Outcome) -> bool:
    return outcome.unknown and not (outcome.accepted or outcome.refused or outcome.retry)


async def test_each_reply_gets_its_own_result() -> None:
    outcome = await of_results(
        {"id": "r-2", "status": "retry"},
        {"id": "r-0", "status": "accepted"},
        {"id": "r-1", "status": "refused", "error": "no such subscriber"},
    )
    assert outcome.accepted == {"r-0"}
    assert outcome.refused == {"r-1": "no such subscriber"}
    assert outcome.retry == {"r-2"}
    assert outcome.unknown  # r-3 stands nowhere: it may have been taken
    assert outcome.pause_s == 0


@pytest.mark.parametrize("error", [{}, {"error": None}, {"error": ""}])
async def test_a_refusal_may_come_without_words(error: dict[str, Any]) -> None:
    outcome = await of_results({"id": "r-1", "status": "refused", **error})
    assert outcome.refused == {"r-1": "refused by the operator"}


@pytest.mark.parametrize(
    "odd", [{"id": "r-1", "status": "queued"}, {"id": 7, "status": "accepted"}, {"status": "accepted"}, None, "r-1", []]
)
async def test_one_odd_result_does_not_make_the_others_unknown(odd: Any) -> None:
    outcome = await of_results({"id": "r-0", "status": "accepted"}, odd, {"id": "r-2", "status": "retry"})
    assert outcome.accepted == {"r-0"}
    assert outcome.retry == {"r-2"}
    assert outcome.unknown


async def test_what_a_newer_gateway_adds_is_passed_over() -> None:
    outcome = await of_results({"id": "r-0", "status": "accepted", "message_id": "77", "parts": 2})
    assert outcome.accepted == {"r-0"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"ok",
        b"[]",
        b"{}",
        b'{"results": null}',
        b"\xff",
        b'{"results":[{"id":"\xff"}]}',
        b'{"results":' + b"[" * 5000,
    ],
)
async def test_an_answer_that_cannot_be_read_leaves_everything_unknown(body: bytes) -> None:
    outcome = await outcome_of(lambda: web.Response(body=body))
    assert nobody_knows(outcome)
    assert outcome.pause_s == ERROR_PAUSE_S
    assert outcome.cause == "unreadable_answer"


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("retry_after", "pause_s"),
    [
        ("7", 7),
        ("0", 0),
        (None, ERROR_PAUSE_S),
        ("soon", ERROR_PAUSE_S),
        ("-3", ERROR_PAUSE_S),
        ("nan", ERROR_PAUSE_S),
        ("86400", LONGEST_PAUSE_S),
        ("9" * 400, LONGEST_PAUSE_S),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", ERROR_PAUSE_S),
    ],
)
async def test_too_many_and_not_now_take_nothing_and_slow_us_down(
    status: int, retry_after: str | None, pause_s: float
) -> None:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    outcome = await outcome_of(lambda: web.Response(status=status, headers=headers))
    assert took_nothing(outcome)
    assert outcome.pause_s == pause_s


async def test_a_retry_after_may_be_a_date() -> None:
    at = formatdate(time.time() + 20, usegmt=True)
    outcome = await outcome_of(lambda: web.Response(status=503, headers={"Retry-After": at}))
    assert outcome.pause_s == pytest.approx(20, abs=3)


async def test_a_date_that_has_passed_asks_for_no_pause() -> None:
    headers = {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}
    outcome = await outcome_of(lambda: web.Response(status=503, headers=headers))
    assert outcome.pause_s == 0


@pytest.mark.parametrize("status", [500, 502, 504])
async def test_a_fault_of_the_gateway_leaves_everything_unknown(status: int) -> None:
    outcome = await outcome_of(lambda: web.Response(status=status))
    assert nobody_knows(outcome)
    assert outcome.pause_s == ERROR_PAUSE_S


@pytest.mark.parametrize("status", [201, 202, 204])
async def test_a_success_that_names_no_results_leaves_everything_unknown(status: int) -> None:
    outcome = await outcome_of(lambda: web.Response(status=status))
    assert nobody_knows(outcome)
    assert outcome.pause_s == MISCONFIGURED_PAUSE_S


@pytest.mark.parametrize("status", [400, 401, 404, 413])
async def test_a_request_that_is_not_understood_takes_nothing_and_waits_for_a_person(status: int) -> None:
    outcome = await outcome_of(lambda: web.Response(status=status))
    assert took_nothing(outcome)
    assert outcome.pause_s == MISCONFIGURED_PAUSE_S


async def test_a_redirect_is_not_followed() -> None:
    paths: list[str] = []

    async def away(request: web.Request) -> web.StreamResponse:
        paths.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async with serving(away) as url, operator_at(url) as operator:
        outcome = await operator.send(PARCELS)
    assert took_nothing(outcome)
    assert paths == ["/"]


async def test_a_request_without_an_answer_leaves_everything_unknown() -> None:
    answered = asyncio.Event()

    async def never(_: web.Request) -> web.StreamResponse:
        await answered.wait()
        return web.Response()

    async with serving(never) as url, operator_at(url, timeout_s=0.05) as operator:
        outcome = await operator.send(PARCELS)
        answered.set()
    assert nobody_knows(outcome)
    assert outcome.pause_s == ERROR_PAUSE_S


async def test_a_connection_cut_instead_of_an_answer_leaves_everything_unknown() -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with serving(cut) as url, operator_at(url) as operator:
        assert nobody_knows(await operator.send(PARCELS))


async def test_an_operator_that_cannot_be_reached_took_nothing() -> None:
    async with speaking(b"") as url:
        pass
    async with operator_at(url) as operator:
        outcome = await operator.send(PARCELS)
    assert took_nothing(outcome)
    assert outcome.pause_s == ERROR_PAUSE_S
    assert outcome.cause == "unreachable"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\xff\x00",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 " + b"2" * 20000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_a_gateway_that_speaks_nonsense_leaves_everything_unknown(answer: bytes) -> None:
    async with speaking(answer) as url, operator_at(url) as operator:
        assert nobody_knows(await operator.send(PARCELS))


async def test_replies_go_as_one_array_and_only_what_may_have_gone_is_marked() -> None:
    seen: list[Any] = []

    async def keep(request: web.Request) -> web.StreamResponse:
        assert request.method == "POST"
        assert request.content_type == "application/json"
        seen.append(await request.json())
        return web.json_response({"results": []})

    marked = Parcel(id="m", body='{"id":"m","text":"İcazə"}'.encode(), ambiguous=True)
    async with serving(keep) as url, operator_at(url) as operator:
        await operator.send([PARCELS[0], marked])
    assert seen == [[{"id": "r-0"}, {"id": "m", "text": "İcazə", "ambiguous": True}]]


async def test_an_operator_is_usable_again_after_each_failure() -> None:
    statuses = iter([500, 503, 200])

    async def answer(_: web.Request) -> web.StreamResponse:
        results = [{"id": parcel.id, "status": "accepted"} for parcel in PARCELS]
        return web.json_response({"results": results}, status=next(statuses))

    async with serving(answer) as url, operator_at(url) as operator:
        outcomes = [await operator.send(PARCELS) for _ in range(3)]
    assert [outcome.accepted for outcome in outcomes] == [set(), set(), EVERY]


async def test_no_more_connections_are_open_than_allowed() -> None:
    under_way, most = 0, 0
    full = asyncio.Event()

    async def count(_: web.Request) -> web.StreamResponse:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        if under_way == 3:
            full.set()
        await full.wait()
        await asyncio.sleep(0)
        under_way -= 1
        return web.json_response({"results": []})

    async with serving(count) as url, operator_at(url, connections=3) as operator:
        await asyncio.gather(*(operator.send(PARCELS) for _ in range(9)))
    assert most == 3
