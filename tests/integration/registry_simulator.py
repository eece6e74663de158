"""A registry of persons on a port of its own: knows whom it is told, fails in every way on demand, and keeps count."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, Literal, get_args

from aiohttp import web
from aiohttp.test_utils import TestServer

from processor.registry.http import HttpRegistry
from tests.eventually import eventually

Fault = Literal[
    "error", "busy", "closed", "late", "cut", "half", "silent", "garbage", "strange", "typed", "moved", "bad_request",
    "twofold", "huge",
]  # fmt: skip
FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)
Question = dict[str, str]


class Simulator:
    """Confirms everybody, but for whom it is told otherwise."""

    def __init__(self) -> None:
        self.url = ""
        self.faults: list[Fault] = []
        """One a question, first to last; after them all is well."""
        self.down = False
        """503 to everything."""
        self.refuse: dict[str, Any] = {}
        """FINs that it refuses, with the reason it gives."""
        self.stuck: set[str] = set()
        """FINs that it always wants to be asked about again."""
        self.choke: set[str] = set()
        """FINs at which a whole question fails."""
        self.questions: list[list[str]] = []
        """FINs of each question."""
        self.at_s: list[float] = []
        self.settled: Counter[str] = Counter()
        """FINs about which it has given its word."""
        self.hold: asyncio.Event | None = None
        """Questions are answered when it is set."""

    def client(self, *, patience_s: float = 5.0) -> HttpRegistry:
        """Our side."""
        return HttpRegistry(self.url, patience_s=patience_s)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One question."""
        asked: list[Question] = await request.json()
        assert 0 < len(asked) <= 100
        assert all(set(one) == {"ref", "fin", "document", "name"} for one in asked)
        self.questions.append([one["fin"] for one in asked])
        self.at_s.append(asyncio.get_running_loop().time())
        if self.hold is not None:
            await self.hold.wait()
        if self.down:
            return web.Response(status=503)
        if any(one["fin"] in self.choke for one in asked):
            return web.Response(status=500)
        return await self._failing(self.faults.pop(0), request, asked) if self.faults else self._said(asked)

    async def _failing(self, fault: Fault, request: web.Request, asked: list[Question]) -> web.StreamResponse:
        body: Any = {"results": []}
        if fault == "late":
            await eventually(partial(_has_hung_up, request), within_s=30)
        if fault == "cut":
            assert request.transport is not None
            request.transport.abort()
        if fault == "half":
            return self._said(asked[: len(asked) // 2])
        if fault == "garbage":
            return web.Response(body=b'{"results": [')
        if fault == "huge":
            return web.Response(body=b" " * (1 << 21))
        if fault == "strange":
            body = {"results": [{"ref": f"x-{n}", "status": "refused", "reason": "deceased"} for n in range(9)]}
        if fault == "typed":
            ref = asked[0]["ref"]
            body = {"results": [7, None, {"ref": 1, "status": "confirmed"}, {"ref": ref, "status": "maybe"}]}
        if fault == "twofold":
            both = ("confirmed", "refused")
            body = {"results": [{"ref": one["ref"], "status": status} for status in both for one in asked]}
        if fault in ("strange", "typed", "twofold", "silent"):
            return web.json_response(body)
        statuses = {"error": 500, "busy": 429, "closed": 503, "moved": 307, "bad_request": 400}
        headers = {"Retry-After": "0"} if fault in ("busy", "closed") else {"Location": "/elsewhere"}
        return web.Response(status=statuses.get(fault, 500), headers=headers)

    def _said(self, asked: list[Question]) -> web.Response:
        return web.json_response({"results": [self._result(one) for one in asked][::-1]})

    def _result(self, one: Question) -> dict[str, Any]:
        if one["fin"] in self.stuck:
            return {"ref": one["ref"], "status": "retry"}
        self.settled[one["fin"]] += 1
        if one["fin"] in self.refuse:
            return {"ref": one["ref"], "status": "refused", "reason": self.refuse[one["fin"]]}
        return {"ref": one["ref"], "status": "confirmed", "since": "2019"}


async def _has_hung_up(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


@asynccontextmanager
async def simulating() -> AsyncGenerator[Simulator]:
    """A registry at work."""
    simulator = Simulator()
    app = web.Application()
    app.router.add_post("/v1/confirm", simulator.answer)
    app.router.add_route("*", "/elsewhere", _elsewhere)
    async with TestServer(app) as server:
        simulator.url = str(server.make_url("/v1/confirm"))
        yield simulator


async def _elsewhere(request: web.Request) -> web.Response:
    """A place where personal data must not go."""
    raise AssertionError("a redirect was followed")
