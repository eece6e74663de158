"""A Ministry on a port of its own: verifies what is signed, fails in every way on demand, and keeps what it took."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, Literal, get_args

from aiohttp import web
from aiohttp.test_utils import TestServer

from dispatch.ministry.http import HttpMinistry
from ingest.signature import SignatureError, Signatures
from runtime.keyring import Keyring
from tests.eventually import eventually

SECRET: Final = b"a secret of the Ministry's feed"
KEYRING: Final = Keyring({"k1": b"k" * 32}, "k1")
Fault = Literal[
    "error", "busy", "closed", "late", "cut", "half", "silent", "garbage", "strange", "typed", "moved", "bad_request"
]
FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)
Event = dict[str, Any]


class Simulator:
    """What it took, what it saw wrong, and how it is to fail next."""

    def __init__(self) -> None:
        self.url = ""
        self.faults: list[Fault] = []
        """One a POST, first to last; after them all is well."""
        self.down = False
        """503 to everything."""
        self.refuse: set[str] = set()
        """Permits, by code, or single events, by id, that it does not want."""
        self.stuck: set[str] = set()
        """FINs whose events it always wants again."""
        self.choke: set[str] = set()
        """FINs at which a whole POST fails."""
        self.error: str | None = "not_entitled"
        """The reason of its refusals."""
        self.events: list[Event] = []
        """Each event, as it was taken or refused for the first time."""
        self.epochs: list[Event] = []
        self.posts: list[list[str]] = []
        self.wrong: list[str] = []
        """What our side must never do."""
        self.hold: asyncio.Event | None = None
        """POSTs are answered when it is set."""
        self.heard: Callable[[Event, str], object] = lambda event, status: None
        """Told of each event that it takes or refuses, with that word, before the answer goes out; of repeats too."""
        self._answers: dict[str, Event] = {}
        self._latest: dict[str, Event] = {}
        """By document: the last event of a person."""
        self._signatures = Signatures([("ministry", SECRET)])

    def client(self, *, timeout_s: float = 5.0) -> HttpMinistry:
        """Our side."""
        return HttpMinistry(self.url, secret=SECRET, keyring=KEYRING, timeout_s=timeout_s)

    async def take(self, request: web.Request) -> web.StreamResponse:
        """One POST."""
        if not self._is_signed(request, await request.read()):
            return web.Response(status=401)
        events: list[Event] = await request.json()
        self.posts.append([event["id"] for event in events])
        if self.hold is not None:
            await self.hold.wait()
        if self.down:
            return web.Response(status=503)
        if any(event.get("employee", {}).get("fin") in self.choke for event in events):
            return web.Response(status=500)
        return await self._failing(self.faults.pop(0), request, events) if self.faults else self._took(events)

    async def _failing(self, fault: Fault, request: web.Request, events: list[Event]) -> web.StreamResponse:
        if fault == "late":  # it takes all, and says so when nobody listens any more
            self._took(events)
            await eventually(partial(_has_hung_up, request), within_s=30)
        if fault == "cut":
            self._took(events)
            assert request.transport is not None
            request.transport.abort()
        if fault == "half":
            return self._took(events[: len(events) // 2])
        if fault == "silent":
            self._took(events)
            return web.json_response({"results": []})
        if fault == "garbage":
            self._took(events)
            return web.Response(body=b'{"results": [')
        if fault == "strange":
            return web.json_response({"results": [{"id": f"x-{n}", "status": "accepted"} for n in range(9)]})
        if fault == "typed":
            return web.json_response({"results": [7, {"id": 1}, {"id": events[0]["id"], "status": "maybe"}]})
        statuses = {"error": 500, "busy": 429, "closed": 503, "moved": 307, "bad_request": 400}
        headers = {"Retry-After": "0"} if fault in ("busy", "closed") else {"Location": "/elsewhere"}
        return web.Response(status=statuses.get(fault, 500), headers=headers)

    def _took(self, events: list[Event]) -> web.Response:
        results = [self._result(event) for event in events]
        return web.json_response({"results": results[::-1]})

    def _result(self, event: Event) -> Event:
        name = event["id"]
        if event["event"] == "epoch":
            if event["number"] == len(self.epochs) + 1:
                self.epochs.append(event)
            elif event["number"] > len(self.epochs):
                self.wrong.append(f"epoch {event['number']} after {len(self.epochs)}")
            return {"id": name, "status": "accepted"}
        if event["employee"]["fin"] in self.stuck:
            return {"id": name, "status": "retry", "error": "not now"}
        if name not in self._answers:
            self._keep(event)
            is_refused = bool({event["permit"], name} & self.refuse)
            refusal: Event = {"id": name, "status": "refused", "error": self.error}
            self._answers[name] = refusal if is_refused else {"id": name, "status": "accepted"}
        self.heard(event, self._answers[name]["status"])
        return self._answers[name]

    def _keep(self, event: Event) -> None:
        person = event["employee"]["document"]
        earlier = self._latest.get(person)
        if earlier is not None and earlier["number"] >= event["number"]:
            self.wrong.append(f"{event['id']} after {earlier['id']}")
        self._latest[person] = event
        self.events.append(event)

    async def reconcile(self, request: web.Request) -> web.Response:
        """What it has."""
        if not self._is_signed(request, b""):
            return web.Response(status=401)
        return web.json_response({"partitions": self.tallies(), "epoch": len(self.epochs)})

    def tallies(self) -> dict[str, Any]:
        """By partition: ranges of what was taken, and what was refused."""
        taken: dict[int, list[int]] = defaultdict(list)
        refused: dict[int, list[int]] = defaultdict(list)
        for event in self.events:
            (refused if self._is_refused(event) else taken)[event["partition"]].append(event["number"])
        return {
            str(partition): {"ranges": _ranges(taken[partition]), "refused": sorted(refused[partition])}
            for partition in {*taken, *refused}
        }

    def forget(self, partition: int, number: int) -> None:
        """Lose one event."""
        self.events = [e for e in self.events if (e["partition"], e["number"]) != (partition, number)]

    def in_force(self, now: str) -> set[str]:
        """Codes of the permits that count at a moment, RFC 3339: its own reading of the contract."""
        latest = {event["permit"]: event for event in self.events}
        return {code for code, event in latest.items() if not self._is_refused(event) and self._counts(event, now)}

    def _counts(self, event: Event, now: str) -> bool:
        if event["status"] not in ("confirmed", "transmitted"):
            return False
        until = event["valid_until"]
        for epoch in self.epochs[event["epoch"] :]:
            if until <= epoch["at"]:
                break
            if epoch["action"] == "deactivate":
                return False
            until = max(until, epoch["until"])
        return event["valid_from"] <= now < until

    def _is_refused(self, event: Event) -> bool:
        return self._answers[event["id"]]["status"] == "refused"

    def _is_signed(self, request: web.Request, body: bytes) -> bool:
        try:
            self._signatures.source(
                remote=None,
                webhook_id=request.headers.get("webhook-id"),
                timestamp=request.headers.get("webhook-timestamp"),
                signature=request.headers.get("webhook-signature"),
                body=body,
                now_s=time.time(),
            )
        except SignatureError as error:
            self.wrong.append(str(error))
            return False
        return True


def _ranges(numbers: list[int]) -> list[list[int]]:
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found


async def _has_hung_up(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


@asynccontextmanager
async def ministry() -> AsyncGenerator[Simulator, None]:
    """A Ministry under way; what our side did wrong fails the test."""
    simulator = Simulator()
    app = web.Application()
    app.router.add_post("/feed", simulator.take)
    app.router.add_get("/feed/reconciliation", simulator.reconcile)
    async with TestServer(app) as server:
        simulator.url = str(server.make_url("/feed"))
        yield simulator
    assert json.dumps(simulator.wrong) == "[]"
