"""Operations of every kind for tests of the door, and what their handlers were given."""

from collections.abc import AsyncGenerator
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
from tests.integration.api_door import Http, take_short_ways

TOKEN: Final = {"Authorization": "Bearer good"}
TRACE: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECRET: Final = "AZE1111111"


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Part of a body."""

    kind: str = "a"
    counts: dict[str, int] = {}
    state: msgspec.UnsetType | None = msgspec.UNSET


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A body."""

    items: list[Inner]
    most: int = 1


class Query(msgspec.Struct, frozen=True):
    """What stands behind the question mark."""

    limit: int = 50
    state: str | None = None


class Seen(msgspec.Struct):
    """What a handler was given."""

    calls: list[Call]
    admitted: int = 0


async def verify(token: str) -> Caller:
    """One token is good."""
    if token != "good":
        raise InvalidTokenError
    return Caller(subject="anna", scopes=frozenset({"things"}))


def registry(seen: Seen) -> list[Operation]:
    """Operations of every kind."""

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
    """Nothing yet."""
    return Seen([])


@pytest.fixture
async def http(seen: Seen) -> AsyncGenerator[Http]:
    """A client of these operations."""

    async def readiness() -> dict[str, Any]:
        return {"ready": True}

    async def admitting(token: str) -> Caller:
        caller = await verify(token)
        seen.admitted += 1
        return caller

    server = TestServer(build_app(registry(seen), verify=admitting, readiness=readiness))
    await server.start_server(access_log=None)
    take_short_ways(server)
    async with TestClient(server) as client:
        yield client


async def problem(response: ClientResponse) -> tuple[int, str]:
    """Status and detail of an answer that is a whole problem."""
    body = await response.json(content_type="application/problem+json")
    assert body["status"] == response.status
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Request-Id"]
    return response.status, body.get("detail", "")
