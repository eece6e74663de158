"""The plainest answer over raw connections: kept, pipelined, closed, of an old HTTP, and to callers who are gone."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from aiohttp import HttpVersion10, web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request

from api.app import build_app
from api.auth import no_issuer
from api.contract import Answer, Call, Operation
from api.door import handler_of
from runtime.quick_response import QuickResponse
from tests.eventually import eventually
from tests.integration.api_door import take_short_ways

LARGE: Final = b'"' + b"a" * 1_000_000 + b'"'


def registry(asked: list[str]) -> list[Operation]:
    async def plain(call: Call) -> Answer:
        asked.append(call.request_id)
        return Answer({"number": len(asked)})

    async def large(call: Call) -> Answer:
        asked.append(call.request_id)
        return Answer(LARGE)

    async def more(call: Call) -> Answer:
        return Answer({}, headers={"X-More": call.request.query_string or "1\r\nX-Evil: 1"})

    def read(path: str, handler: Any, **more: Any) -> Operation:
        return Operation(
            method="GET", path=path, name=path[1:], summary="s", tag="t", handler=handler, scope=None, **more
        )

    return [
        read("/plain", plain, answers={200: None}),
        read("/large", large, answers={200: None}, answer_media="text/csv"),
        read("/more", more, answers={200: None}),
    ]


@pytest.fixture
def asked() -> list[str]:
    return []


@pytest.fixture
async def port(asked: list[str]) -> AsyncIterator[int]:
    async def readiness() -> dict[str, Any]:
        return {"ready": True}

    server = TestServer(build_app(registry(asked), verify=no_issuer, readiness=readiness))
    await server.start_server()
    take_short_ways(server)
    async with TestClient(server) as client:
        assert client.port is not None
        yield client.port


def request(path: str, *headers: str, version: str = "1.1", method: str = "GET") -> bytes:
    return "\r\n".join((f"{method} {path} HTTP/{version}", "Host: x", *headers, "", "")).encode()


async def answer(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes]:
    """Status line, headers and body of the next answer."""
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).decode()
    status, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert len(headers) == len(lines)
    return status, headers, await reader.readexactly(int(headers.get("Content-Length", "0")))


async def test_an_answer_is_what_aiohttp_would_have_written(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("/plain", "X-Request-Id: mine"))
    status, quick, body = await answer(reader)
    assert (status, body) == ("HTTP/1.1 200 OK", b'{"number":1}')
    assert re.fullmatch(r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT", quick["Date"])
    writer.write(request("/plain", "X-Request-Id: mine", "Connection: close"))
    status, slow, body = await answer(reader)
    assert (status, body) == ("HTTP/1.1 200 OK", b'{"number":2}')
    assert slow.pop("Connection") == "close"
    assert {**slow, "Date": ""} == {**quick, "Date": ""}
    assert await reader.read() == b""
    writer.close()


async def test_a_kept_connection_answers_again_and_pipelined_questions_in_order(port: int, asked: list[str]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in (1, 2):
        writer.write(request("/plain", f"X-Request-Id: {number}"))
        assert (await answer(reader))[2] == b'{"number":%d}' % number
    writer.write(b"".join(request("/plain", f"X-Request-Id: {number}") for number in range(3, 103)))
    for number in range(3, 103):
        _, headers, body = await answer(reader)
        assert (headers["X-Request-Id"], body) == (str(number), b'{"number":%d}' % number)
    assert asked == [str(number) for number in range(1, 103)]
    writer.close()


@pytest.mark.parametrize(
    ("sent", "status", "connection"),
    [
        (request("/plain", version="1.0"), "HTTP/1.0 200 OK", None),
        (request("/plain", "Connection: keep-alive", version="1.0"), "HTTP/1.0 200 OK", "keep-alive"),
        (request("/plain", "Connection: close"), "HTTP/1.1 200 OK", "close"),
        (request("/plain", "Connection: keep-alive"), "HTTP/1.1 200 OK", None),
        (request("/plain", method="POST"), "HTTP/1.1 405 Method Not Allowed", None),
    ],
)
async def test_each_http_is_answered_in_its_own_way(
    port: int, sent: bytes, status: str, connection: str | None
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    said, headers, _ = await answer(reader)
    assert (said, headers.get("Connection")) == (status, connection)
    if "1.0" in status and connection is None:
        assert await reader.read() == b""
    else:
        assert (connection == "close") is (await closes(reader, writer))
    writer.close()


async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Whether the connection takes no second question."""
    writer.write(request("/plain"))
    try:
        await answer(reader)
    except (asyncio.IncompleteReadError, ConnectionError):
        return True
    return False


async def test_head_has_no_body_and_no_answer_of_its_own(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("/plain", "Connection: close", method="HEAD"))
    head = await asyncio.wait_for(reader.read(), 5)
    assert head.startswith(b"HTTP/1.1 405 ")
    assert head.endswith(b"\r\n\r\n")
    writer.close()


@pytest.mark.parametrize("given", ["a\tX: 1", "a b", "a%0d%0aX: 1", "я", "a" * 65])
async def test_nobody_puts_words_of_their_own_into_the_head(port: int, given: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("/plain", f"X-Request-Id: {given}"))
    status, headers, _ = await answer(reader)
    assert status == "HTTP/1.1 200 OK"
    assert re.fullmatch("[0-9a-f]{32}", headers["X-Request-Id"])
    writer.close()


async def test_a_header_of_a_handler_goes_through_aiohttp_which_refuses_a_line_break(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("/more", "Connection: close"))
    assert b"X-Evil" not in await asyncio.wait_for(reader.read(), 5)
    writer.close()


async def test_a_caller_that_leaves_is_no_fault(port: int, asked: list[str], caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(20):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request("/large") + request("/plain"))
        writer.transport.abort()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("/plain"))
    assert (await answer(reader))[0] == "HTTP/1.1 200 OK"
    writer.close()
    assert asked
    assert caplog.text == ""


async def test_a_caller_that_does_not_read_stops_its_own_questions(port: int, asked: list[str]) -> None:
    """What nobody reads is not piled up: the handler is asked again only when an answer has gone out."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**10)
    for _ in range(200):
        writer.write(request("/large"))
    counts: list[int] = []

    async def stands() -> bool:
        counts.append(len(asked))
        return counts[-1] > 0 and counts[-10:] == [counts[-1]] * 10

    assert await eventually(stands)
    assert len(asked) < 100
    for _ in range(200):
        assert (await answer(reader))[2] == LARGE
    assert len(asked) == 200
    writer.close()


async def test_only_a_plain_answer_is_quick(asked: list[str]) -> None:
    door = handler_of(registry(asked)[0], verify=no_issuer)
    assert isinstance(await door(make_mocked_request("GET", "/plain")), QuickResponse)
    assert isinstance(await door(make_mocked_request("GET", "/plain", version=HttpVersion10)), web.Response)
