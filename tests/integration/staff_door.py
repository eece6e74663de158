"""The doors of staff and services for tests: status lists and histories, and the acts that they leave."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer

from api import dev_issuer
from api.app import build_app, readiness_of
from api.blocked import BlockedDoor
from api.blocked_bulk import BulkBlockedDoor
from api.guessing import Guessing
from api.histories import HistoriesDoor
from api.holders import Holders
from api.limits import Bounds, Limits
from api.wires import Wires
from lua.blocked import Listing, listings
from permits import policy as policies
from permits.employees import AuditAct
from permits.policy import Policy
from runtime.connection import Client
from runtime.settings import Settings
from tests.integration.api_door import DOCUMENT, KEY, PARTITIONS, ROUTE, Clock, Http, epochs_of
from tests.integration.holders_door import AMPLE, token_of

RULES: Final = policies.load()
SCOPES: Final = "lists histories"


class Staff:
    """The doors of one process, and a look at what they leave in the store."""

    def __init__(self, http: Http, redis: Client, clock: Clock, wires: Wires) -> None:
        self.http = http
        self.wires = wires
        self.redis = redis
        self.clock = clock

    async def ask(self, path: str, body: Any, *, scope: str = SCOPES, subject: str = "anna") -> ClientResponse:
        """An answer as it comes."""
        headers = token_of(self.clock, scope, subject=subject, azp="desk")
        return await self.http.post(f"/v1/{path}", json=body, headers=headers)

    async def told(self, path: str, body: Any) -> Any:
        """What an answer says."""
        answer = await self.ask(path, body)
        assert answer.status == 200, await answer.text()
        assert answer.headers["Cache-Control"] == "no-store"
        return await answer.json()

    async def refused(self, path: str, body: Any) -> tuple[int, str]:
        """Status and detail of a refusal, which repeats no document."""
        answer = await self.ask(path, body)
        problem = await answer.json()
        assert "1111111" not in str(problem)
        return answer.status, problem.get("detail", "")

    async def block(self, name: str = "infected", *, document: str = DOCUMENT, **times: str) -> Any:
        """A document is put on a list."""
        return await self.told("blocked", {"document": document, "list": name, "reason": "order 14"} | times)

    async def stands(self, document: str = DOCUMENT) -> list[Listing]:
        """Its places on lists, as the store has them."""
        partition, owner = ROUTE.of_document(document)
        return listings(await self.redis.execute_command("HGET", PARTITIONS[partition].blocked, owner) or b"")

    async def acts(self) -> list[AuditAct]:
        """Of the document's partition."""
        acts = PARTITIONS[ROUTE.of_document(DOCUMENT)[0]].acts
        entries: Any = await self.redis.execute_command("XRANGE", acts, "-", "+")
        return [msgspec.json.decode(fields[b"m"], type=AuditAct) for _, fields in entries]


@asynccontextmanager
async def serving(
    url: str, redis: Client, *, clock: Clock | None = None, bounds: Bounds = AMPLE, policy: Policy = RULES
) -> AsyncGenerator[Staff]:
    """Both doors; the limits' clock is the same as the records'."""
    clock = clock or Clock()
    now_ms = clock
    wires = Wires(url)
    guessing = Guessing(Limits(bounds), lambda: now_ms() / 1000)
    holders = Holders(wires, partitions=PARTITIONS, route=ROUTE, policy=lambda: policy, epochs=(), now_ms=now_ms)
    operations = [
        *BlockedDoor(
            guessing, wires=wires, partitions=PARTITIONS, route=ROUTE, policy=lambda: policy, now_ms=now_ms
        ).operations(),
        *BulkBlockedDoor(
            wires=wires, partitions=PARTITIONS, route=ROUTE, policy=lambda: policy, now_ms=now_ms
        ).operations(),
        *HistoriesDoor(
            holders,
            guessing,
            wires=wires,
            partitions=PARTITIONS,
            route=ROUTE,
            policy=lambda: policy,
            now_ms=now_ms,
        ).operations(),
    ]
    app = build_app(
        operations, verify=dev_issuer.verifier(KEY, clock), readiness=readiness_of(epochs_of(wires), Settings().promise)
    )
    async with TestClient(TestServer(app)) as http:
        yield Staff(http, redis, clock, wires)
    await wires.close()
