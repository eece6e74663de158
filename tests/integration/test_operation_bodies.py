"""The bodies that operations are sent: media type, size, decoding, patience."""

import asyncio
import gzip
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from api import door
from tests.eventually import eventually
from tests.integration.api_door import Http
from tests.integration.operations import TOKEN, Seen, http, problem, seen

__all__ = ["http", "seen"]


# Bodies


@pytest.mark.parametrize(
    ("media", "status"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        ("application/json;charset=utf-8", 200),
        ("text/csv", 415),
        ("application/jsonp", 415),
        ("application/x-www-form-urlencoded", 415),
        ("", 415),
    ],
)
async def test_only_listed_media_types_are_read(http: Http, media: str, status: int) -> None:
    response = await http.post("/v1/notes", data=b'{"items": []}', headers={**TOKEN, "Content-Type": media})
    assert response.status == status


async def test_a_listed_other_type_reaches_the_handler_as_it_came(http: Http) -> None:
    response = await http.post("/v1/raw", data=b"a;b\xff", headers={**TOKEN, "Content-Type": "text/csv"})
    assert (response.status, await response.read()) == (202, b"a;b\xff")
    response = await http.post("/v1/raw", json={"items": []}, headers=TOKEN)
    assert await response.read() == b'"json"'


@pytest.mark.parametrize("body", [b"[1,1]", b" \t\r\n[1,", b"[" * 4000])
async def test_an_array_reaches_the_handler_undecoded_where_other_types_do(http: Http, body: bytes) -> None:
    response = await http.post("/v1/raw", data=body, headers={**TOKEN, "Content-Type": "application/json"})
    assert (response.status, await response.read()) == (202, body)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"{", "the body is not JSON"),
        (b'{"items": [{"kind": "\xff"}]}', "the body is not JSON"),
        (b"{}", "Object missing required field `items`"),
        (b'{"items": [{"kind": 1}]}', "Expected `str`, got `int` - at `$.items[0].kind`"),
        (b'{"items": [], "AZE1111111": 1}', "Object contains unknown field"),
        (b'{"items": [{"x - at `$[1111111]": 1}]}', "Object contains unknown field"),
        (b'{"items": [{"counts": {"AZE1111111": "x"}}]}', "Expected `int`, got `str` - at `$.items[0].counts[...]`"),
    ],
)
async def test_a_body_that_does_not_fit_is_told_where_and_not_what(http: Http, body: bytes, detail: str) -> None:
    response = await http.post("/v1/notes", data=body, headers={**TOKEN, "Content-Type": "application/json"})
    assert await problem(response) == (400, detail)
    assert "1111" not in await response.text()


async def pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b" " * 1000


@pytest.mark.parametrize(("count", "status"), [(4, 400), (5, 413), (4000, 413)])
async def test_a_body_without_a_length_is_cut_off_where_it_gets_too_large(http: Http, count: int, status: int) -> None:
    headers = {**TOKEN, "Content-Type": "application/json"}
    response = await http.post("/v1/notes", data=pieces(count), headers=headers)
    assert (await problem(response))[0] == status


async def test_a_compressed_body_counts_as_large_as_it_becomes(http: Http) -> None:
    headers = {**TOKEN, "Content-Type": "application/json", "Content-Encoding": "gzip"}
    small = await http.post("/v1/notes", data=gzip.compress(b'{"items": []}'), headers=headers)
    assert small.status == 200
    large = await http.post("/v1/notes", data=gzip.compress(b" " * 10_000_000), headers=headers)
    assert (await problem(large))[0] == 413
    broken = await http.post("/v1/notes", data=b"no gzip", headers=headers)
    assert (await problem(broken))[0] == 400


async def test_a_large_body_that_does_not_end_is_given_up(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "LARGE_PATIENCE_S", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
    head = "PUT /v1/raw HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\nContent-Type: text/csv\r\n"
    writer.write(f"{head}Content-Length: 100\r\n\r\na;b".encode())
    try:
        answer = await asyncio.wait_for(reader.readline(), 5)
    finally:
        writer.close()
    assert answer == b"HTTP/1.1 408 Request Timeout\r\n"


async def test_few_large_bodies_are_read_at_once_and_the_others_in_their_turn(
    http: Http, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, read = asyncio.Event(), door._read  # pyright: ignore[reportPrivateUsage]
    reading = 0

    async def held(request: web.Request, most: int) -> bytes:
        nonlocal reading
        reading += 1
        await go.wait()
        return await read(request, most)

    async def all_admitted() -> bool:
        return seen.admitted == door.LARGE_AT_ONCE + 2

    monkeypatch.setattr(door, "_read", held)
    headers = {**TOKEN, "Content-Type": "text/csv"}
    async with asyncio.TaskGroup() as callers:
        asked = [
            callers.create_task(http.put("/v1/raw", data=b"a;b", headers=headers))
            for _ in range(door.LARGE_AT_ONCE + 2)
        ]
        await eventually(all_admitted)
        at_once = reading
        go.set()
    assert at_once == door.LARGE_AT_ONCE
    assert {task.result().status for task in asked} == {202}


async def test_a_caller_that_leaves_in_the_middle_of_a_body_is_no_fault(
    http: Http, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
    head = "POST /v1/notes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: 100\r\n\r\n{{".encode())
    await writer.drain()
    writer.write_eof()
    await reader.read()
    writer.close()
    assert (await http.get("/v1/notes", headers=TOKEN)).status == 200
    assert "request failed" not in caplog.text
