"""What every operation gets from its door: media type, size, decoding, query, preconditions, ids and traces."""

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from api import door
from api.app import build_app
from api.auth import Caller, InvalidTokenError
from api.contract import Answer, Call, Operation
from runtime.problems import ProblemError
from tests.eventually import eventually
from tests.integration.api_door import Http

TOKEN: Final = {"Authorization": "Bearer good"}
TRACE: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECRET: Final = "AZE1111111"


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: str = "a"
    counts: dict[str, int] = {}
    state: msgspec.UnsetType | None = msgspec.UNSET


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    items: list[Inner]
    most: int = 1


class Query(msgspec.Struct, frozen=True):
    limit: int = 50
    state: str | None = None


class Seen(msgspec.Struct):
    """What a handler was given."""

    calls: list[Call]
    admitted: int = 0


async def verify(token: str) -> Caller:
    if token != "good":
        raise InvalidTokenError
    return Caller(subject="anna", scopes=frozenset({"things"}))


def registry(seen: Seen) -> list[Operation]:
    async def note(call: Call) -> Answer:
        seen.calls.append(call)
        return Answer({"ok": True}, etag="7.1", location="/v1/here", headers={"X-More": "1"})

    async def fail(call: Call) -> Answer:
        seen.calls.append(call)
        raise {"timeout": TimeoutError, "broken": ConnectionResetError, "bug": ValueError}[call.body.items[0].kind]

    async def refuse(call: Call) -> Answer:
        raise ProblemError(409, "Taken")

    async def raw(call: Call) -> Answer:
        return Answer(call.body if isinstance(call.body, bytes) else b'"json"', 202)

    async def stream(call: Call) -> web.StreamResponse:
        response = web.StreamResponse(headers={"X-Request-Id": call.request_id})
        await response.prepare(call.request)
        await response.write(b"data")
        return response

    async def empty(call: Call) -> Answer:
        return Answer(None, 204)

    common: dict[str, Any] = {"summary": "s", "tag": "t", "answers": {200: None}}
    things: dict[str, Any] = {**common, "scope": "things"}
    return [
        Operation(method="POST", path="/v1/notes", name="note", handler=note, body=Choice, **things),
        Operation(method="GET", path="/v1/notes", name="look", handler=note, query=Query, etag=True, **things),
        Operation(method="POST", path="/v1/fails", name="fail", handler=fail, body=Choice, **things),
        Operation(method="DELETE", path="/v1/fails", name="refuse", handler=refuse, **things),
        Operation(
            method="POST", path="/v1/raw", name="raw", handler=raw, body=Choice, other_media=("text/csv",), **things
        ),
        Operation(
            method="PUT",
            path="/v1/raw",
            name="large",
            handler=raw,
            body=Choice,
            other_media=("text/csv",),
            max_body_bytes=door.SMALL_BYTES + 1,
            **things,
        ),
        Operation(method="GET", path="/v1/stream", name="stream", handler=stream, **common, scope=None),
        Operation(
            method="PUT", path="/v1/{tin}/notes/{code}", name="edit", handler=note, if_match=True, **common, scope=None
        ),
        Operation(method="POST", path="/v1/keys", name="make", handler=note, idempotency_key="required", **things),
        Operation(method="PUT", path="/v1/keys", name="may", handler=note, idempotency_key="optional", **things),
        Operation(method="DELETE", path="/v1/keys", name="drop", handler=empty, **things),
    ]


@pytest.fixture
def seen() -> Seen:
    return Seen([])


@pytest.fixture
async def http(seen: Seen) -> AsyncIterator[Http]:
    async def readiness() -> dict[str, Any]:
        return {"ready": True}

    async def admitting(token: str) -> Caller:
        caller = await verify(token)
        seen.admitted += 1
        return caller

    server = TestServer(build_app(registry(seen), verify=admitting, readiness=readiness))
    await server.start_server(access_log=None)
    async with TestClient(server) as client:
        yield client


async def problem(response: ClientResponse) -> tuple[int, str]:
    """Status and detail of an answer that is a whole problem."""
    body = await response.json(content_type="application/problem+json")
    assert body["status"] == response.status
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Request-Id"]
    return response.status, body.get("detail", "")


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


# Query and path


async def test_query_parameters_become_their_types(http: Http, seen: Seen) -> None:
    assert (await http.get("/v1/notes?limit=7&state=new", headers=TOKEN)).status == 200
    assert seen.calls[0].query == Query(limit=7, state="new")
    await http.get("/v1/notes", headers=TOKEN)
    assert seen.calls[1].query == Query()


@pytest.mark.parametrize("query", ["limit=x", "limit=1&limit=2", "AZE1111111=1", "limit=1&state=a&state=a", "limit="])
async def test_a_bad_query_is_refused_without_its_words(http: Http, query: str) -> None:
    response = await http.get(f"/v1/notes?{query}", headers=TOKEN)
    assert (await problem(response))[0] == 400
    assert "1111" not in await response.text()


async def test_an_operation_without_parameters_takes_none(http: Http) -> None:
    response = await http.post(f"/v1/notes?document={SECRET}", json={"items": []}, headers=TOKEN)
    assert (await problem(response))[0] == 400


@pytest.mark.parametrize(
    "path", ["/v1/123456789/notes/23456789AB", "/v1/12345678901/notes/23456789AB", "/v1/1234567890/notes/0"]
)
async def test_a_path_that_names_nothing_possible_is_not_found(http: Http, path: str) -> None:
    assert (await problem(await http.put(path, headers={"If-Match": '"1"'})))[0] == 404


async def test_a_path_variable_reaches_the_handler(http: Http, seen: Seen) -> None:
    assert (await http.put("/v1/1234567890/notes/23456789AB", headers={"If-Match": '"1"'})).status == 200
    assert (seen.calls[0].path("tin"), seen.calls[0].path("code")) == ("1234567890", "23456789AB")
    assert seen.calls[0].caller.subject == ""


async def test_another_method_is_told_which_ones_there_are(http: Http) -> None:
    response = await http.patch("/v1/notes")
    assert (await problem(response))[0] == 405
    assert response.headers["Allow"] == "GET, POST"
    assert (await problem(await http.get("/nowhere")))[0] == 404


# Preconditions


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (None, 428),
        ("", 428),
        ('"3.1"', 200),
        ('W/"3.1"', 412),
        ("*", 400),
        ("3.1", 400),
        ('"3.1", "3.2"', 400),
        ('"3"1"', 400),
    ],
)
async def test_an_edit_names_one_version(http: Http, seen: Seen, given: str | None, status: int) -> None:
    headers = {} if given is None else {"If-Match": given}
    assert (await http.put("/v1/1234567890/notes/23456789AB", headers=headers)).status == status
    assert [call.if_match for call in seen.calls] == (["3.1"] if status == 200 else [])


@pytest.mark.parametrize(
    ("given", "status"),
    [('"7.1"', 304), ('W/"7.1"', 304), ("*", 304), ('"1", W/"7.1"', 304), ('"7"', 200), ("7.1", 200), ("", 200)],
)
async def test_a_version_that_the_caller_has_is_not_sent_again(http: Http, given: str, status: int) -> None:
    response = await http.get("/v1/notes", headers={**TOKEN, "If-None-Match": given})
    assert (response.status, response.headers["ETag"]) == (status, '"7.1"')
    assert response.headers["Cache-Control"] == "no-store"
    assert await response.read() == (b"" if status == 304 else b'{"ok":true}')


@pytest.mark.parametrize(
    ("method", "given", "status"),
    [
        ("POST", None, 400),
        ("PUT", None, 200),
        ("POST", "k" * 64, 200),
        ("PUT", "k" * 65, 400),
        ("POST", "a b", 400),
        ("POST", "ключ", 400),
    ],
)
async def test_idempotency_keys_are_short_and_visible(
    http: Http, seen: Seen, method: str, given: str | None, status: int
) -> None:
    headers = TOKEN if given is None else {**TOKEN, "Idempotency-Key": given}
    assert (await http.request(method, "/v1/keys", headers=headers)).status == status
    assert [call.idempotency_key for call in seen.calls] == ([given] if status == 200 else [])


# Answers, faults, ids


async def test_an_answer_carries_what_its_handler_says(http: Http) -> None:
    response = await http.post("/v1/notes", json={"items": []}, headers=TOKEN)
    assert response.headers["Content-Type"] == "application/json"
    said = {name: response.headers[name] for name in ("ETag", "Location", "X-More", "Cache-Control")}
    assert said == {"ETag": '"7.1"', "Location": "/v1/here", "X-More": "1", "Cache-Control": "no-store"}
    gone = await http.delete("/v1/keys", headers=TOKEN)
    assert (gone.status, await gone.read(), "Content-Type" in gone.headers) == (204, b"", False)


@pytest.mark.parametrize(("kind", "status"), [("timeout", 503), ("broken", 503), ("bug", 500)])
async def test_a_store_that_is_away_is_a_503_and_a_bug_a_500(
    http: Http, kind: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    response = await http.post("/v1/fails", json={"items": [{"kind": kind}]}, headers=TOKEN)
    assert (await problem(response))[0] == status
    assert response.headers.get("Retry-After") == ("1" if status == 503 else None)
    assert ("request failed" in caplog.text) is (status == 500)


async def test_a_handlers_own_problem_is_the_answer(http: Http) -> None:
    assert (await problem(await http.delete("/v1/fails", headers=TOKEN)))[0] == 409


async def test_a_stream_is_left_to_its_handler(http: Http) -> None:
    response = await http.get("/v1/stream", headers={"X-Request-Id": "mine"})
    assert (response.status, await response.read(), response.headers["X-Request-Id"]) == (200, b"data", "mine")


@pytest.mark.parametrize("path", ["/v1/notes", "/v1/fails", "/v1/nowhere"])
async def test_a_callers_request_id_is_echoed_on_every_answer(http: Http, path: str) -> None:
    response = await http.post(path, headers={"X-Request-Id": "a-B_1.2"})
    assert response.headers["X-Request-Id"] == "a-B_1.2"


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "a\tb", "ß"])
async def test_an_unfit_request_id_is_replaced(http: Http, given: str) -> None:
    ids = {
        (await http.get("/v1/notes", headers={**TOKEN, "X-Request-Id": given})).headers["X-Request-Id"]
        for _ in range(3)
    }
    assert len(ids) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", made) for made in ids)


@pytest.mark.parametrize(
    ("given", "carried"),
    [
        (TRACE, TRACE),
        (f"cc{TRACE[2:]}-more", TRACE),
        (f"cc{TRACE[2:]}", TRACE),
        (f"{TRACE}-more", None),
        (f"cc{TRACE[2:]}more", None),
        (f"ff{TRACE[2:]}", None),
        (TRACE.upper(), None),
        (f"00-{'0' * 32}{TRACE[35:]}", None),
        (f"{TRACE[:36]}{'0' * 16}-01", None),
        ("", None),
        ("garbage", None),
        (None, None),
    ],
)
async def test_a_trace_is_carried_on_or_made(http: Http, seen: Seen, given: str | None, carried: str | None) -> None:
    for _ in range(2):
        await http.get("/v1/notes", headers=TOKEN if given is None else {**TOKEN, "traceparent": given})
    traces = {call.trace for call in seen.calls}
    if carried is None:
        assert len(traces) == 2
        assert all(re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", made) for made in traces)
    else:
        assert traces == {carried}


async def test_the_description_and_its_page_are_open_and_strict(http: Http) -> None:
    described = await http.get("/openapi.json")
    assert described.content_type == "application/json"
    assert "/v1/{tin}/notes/{code}" in json.loads(await described.read())["paths"]
    page = await http.get("/docs")
    assert page.content_type == "text/html"
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert not re.findall(r"https?://", await page.text())
