"""A monitor for tests: its door on a real socket, and a reader of its events."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request

from api.auth import Caller, InvalidTokenError
from api.door import routes
from api.events import Events
from api.monitor import MonitorDoor
from lua.keys import partition_keys, tags
from runtime.connection import Wire
from runtime.doors import new_app

Http = TestClient[Request, Application]

PARTITIONS: Final = [partition_keys(tag) for tag in tags(4)]
NOON_MS: Final = 1_767_254_400_000
"""2026-01-01 12:00 in Baku (08:00 UTC)."""
STAFF: Final = {"Authorization": "Bearer monitor"}


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now_ms = NOON_MS

    def __call__(self) -> int:
        return self.now_ms


class Seen(msgspec.Struct, frozen=True):
    """One event as it came."""

    id: int
    data: Any


async def verify(token: str) -> Caller:
    """A token is its own scope."""
    if token == "bad":
        raise InvalidTokenError
    return Caller(subject="test", scopes=frozenset((token,)))


@asynccontextmanager
async def serving(door: MonitorDoor, *, looking: bool = False, shutdown_s: float = 30.0) -> AsyncGenerator[Http]:
    """The door on a socket; it looks by itself only where asked to."""

    async def readiness() -> dict[str, Any]:
        return {"ready": True}

    app = new_app(readiness=readiness)
    app.add_routes(routes(door.operations(), verify=verify))
    door.attach(app)
    if not looking:
        app.cleanup_ctx.clear()
    server = TestServer(app)
    await server.start_server(access_log=None, shutdown_timeout=shutdown_s)
    async with TestClient(server) as http:
        yield http


def monitor_door(url: str, clock: Clock, events: Events | None = None) -> MonitorDoor:
    return MonitorDoor(wire=Wire(url), partitions=PARTITIONS, now_ms=clock, events=events)


async def shown(http: Http) -> dict[str, Any]:
    """The answer of the monitor."""
    response = await http.get("/v1/monitor", headers=STAFF)
    assert response.status == 200, await response.text()
    return await response.json()


async def listening(http: Http, last_event_id: str | None = None) -> ClientResponse:
    """A stream of events, its first line read."""
    headers = STAFF if last_event_id is None else {**STAFF, "Last-Event-ID": last_event_id}
    response = await http.get("/v1/monitor/events", headers=headers)
    assert response.status == 200, await response.text()
    assert await response.content.readuntil(b"\n\n") == b"retry: 2000\n\n"
    return response


async def heard(response: ClientResponse) -> Seen:
    """The next event of a stream."""
    text = await response.content.readuntil(b"\n\n", max_size=1 << 21)
    number, event, data, *rest = text.decode().split("\n")
    assert (event, rest) == ("event: figures", ["", ""])
    return Seen(int(number.removeprefix("id: ")), msgspec.json.decode(data.removeprefix("data: ")))
