"""The organisations' doors for tests: on a real socket, with callers by name, and what other roles do meanwhile."""

import hashlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Literal

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request

from api.app import build_app, readiness_of
from api.auth import Caller, InvalidTokenError
from api.authority import Organisations
from api.contract import Answer, Call
from api.delegates import DelegatesDoor
from api.employee_permits import PermitsDoor
from api.organisations import OrganisationsDoor
from api.permit_lists import PermitListDoor
from api.wires import Wires
from lua.keys import partition_keys, tags
from permits import policy as policies
from permits.employees import Actor, Deed, Employee, Epoch, Stored
from permits.employees import Request as PermitRequest
from permits.messages import OUTBOX_DECODER, OutboxEvent
from permits.organisations import Authority, Organisation, Power
from permits.partition import Route
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from runtime.employment import Employment
from runtime.keyring import Keyring
from runtime.permit_changes import Versioned
from runtime.settings import Settings
from tests.integration.api_door import NOON_MS, Clock, epochs_of

Http = TestClient[Request, Application]

ROUTE: Final = Route(key=b"k" * 32, partitions=4)
PARTITIONS: Final = [partition_keys(tag) for tag in tags(4)]
KEYRING: Final = Keyring({"k1": b"s" * 32}, "k1")
TIN: Final = "1234567890"
PERMITS: Final = f"/v1/organisations/{TIN}/permits"
OTHER_TIN: Final = "9876543210"
DAY_MS: Final = 86_400_000
SYSTEM: Final = Actor(subject="registry")
CALLERS: Final = {
    "seal": Caller(
        subject="seal", scopes=frozenset({"organisation"}), fin="5ABC12D", tin=TIN, method="asan_imza", seal_acr="imza"
    ),
    "weak": Caller(subject="seal", scopes=frozenset({"organisation"}), fin="5ABC12D", tin=TIN, seal_acr="imza"),
    "colleague": Caller(
        subject="colleague", scopes=frozenset({"organisation"}), fin="7QRS34T", tin=TIN, method="asan_imza"
    ),
    "delegate": Caller(subject="delegate", scopes=frozenset({"organisation"}), fin="6DEF45G"),
    "foreign": Caller(
        subject="foreign", scopes=frozenset({"organisation"}), fin="8UVW56X", tin=OTHER_TIN, method="e_signature"
    ),
    "nobody": Caller(subject="service", scopes=frozenset({"organisation"})),
    "police": Caller(subject="police", scopes=frozenset({"checks"})),
}
ROW: Final = {
    "fin": "1AAA11A",
    "document": "AZE1111111",
    "name": "Aysel Quliyeva",
    "valid_from": "2026-01-01",
    "valid_until": "2026-01-31",
    "zone": "Bakı",
    "activity": "pharmacy",
}


async def verify(token: str) -> Caller:
    """A token is its caller's name."""
    caller = CALLERS.get(token)
    if caller is None:
        raise InvalidTokenError
    return caller


class Bulk:
    """Stands in for the imports: keeps what it was given."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []

    async def enlist(self, call: Call, organisation: Organisation, authority: Authority) -> Answer:
        """Takes anything."""
        self.bodies.append(call.body)
        return Answer(body={"organisation": organisation.tin, "under": authority.under}, status=202)


class House:
    """The doors, and hands for what workers and dispatchers do."""

    def __init__(
        self, http: Http, redis: Client, clock: Clock, wires: Wires, epochs: list[Epoch], bulk: "Bulk"
    ) -> None:
        self.http = http
        self.redis = redis
        self.clock = clock
        self.wires = wires
        self.epochs = epochs
        self.bulk = bulk
        self.employment = employment(wires, epochs)

    async def ask(self, method: str, path: str, *, by: str = "seal", key: str = "", tag: str = "", **more: Any) -> Any:
        """One request; `key` of idempotency, `tag` as the answer's ETag has it."""
        headers = {"Authorization": f"Bearer {by}", **more.pop("headers", {})}
        if key:
            headers["Idempotency-Key"] = key
        if tag:
            headers["If-Match"] = tag
        return await self.http.request(method, path, headers=headers, **more)

    async def register(self, by: str = "seal", tin: str = TIN) -> None:
        """An organisation that stands."""
        answer = await self.ask("POST", "/v1/organisations", by=by, json={"tin": tin, "name": "Günəş MMC"})
        assert answer.status == 201, await answer.text()

    async def grant(self, *powers: Power, until: str = "2026-06-30", key: str = "grant", fin: str = "6DEF45G") -> str:
        """A delegation that stands; its id."""
        asked = {"fin": fin, "name": "Rəşad Məmmədov", "powers": powers, "until": until}
        answer = await self.ask("POST", f"/v1/organisations/{TIN}/delegates", key=key, json=asked)
        assert answer.status == 201, await answer.text()
        return (await answer.json())["id"]

    async def apply(self, *, by: str = "seal", key: str = "apply", **fields: Any) -> ClientResponse:
        """An application for one employee."""
        return await self.ask("POST", f"/v1/organisations/{TIN}/permits", by=by, key=key, json=ROW | fields)

    async def applied(self, **fields: Any) -> dict[str, Any]:
        """A permit that stands."""
        answer = await self.apply(**fields)
        assert answer.status == 201, await answer.text()
        return await answer.json()

    async def standing(self, code: str) -> Versioned:
        """The record of a permit."""
        (found,) = await self.employment.load([code])
        assert found is not None
        return found

    async def confirm(self, code: str) -> None:
        """The registry knows the employee, and the Ministry takes the permit."""
        await self.amend(code, "confirm", "confirmed")
        await self.amend(code, "transmit", "transmitted")

    async def amend(self, code: str, deed: Deed, status: Stored) -> None:
        """What a role does to a permit."""
        standing = await self.standing(code)
        assert await self.employment.amend(standing, deed=deed, status=status, actor=SYSTEM, now_ms=self.clock())

    async def index(self) -> None:
        """The dispatcher's first stage, in short."""
        for event in await outbox(self.redis):
            if event.deed in ("create", "reactivate"):
                key = PARTITIONS[ROUTE.of_organisation(event.tin)].org(event.tin)
                await self.redis.execute_command("ZADD", key, "NX", event.at_ms, event.code)

    def proclaim(self, action: Literal["extend", "deactivate"], *, until_ms: int = 0) -> None:
        """An epoch that every role knows at once."""
        self.epochs.append(
            Epoch(
                number=len(self.epochs) + 1,
                action=action,
                at_ms=self.clock(),
                reason="decree 7",
                actor="regime",
                request="r",
                until_ms=until_ms,
            )
        )


def employment(wires: Wires, epochs: Sequence[Epoch]) -> Employment:
    """The permits in a store."""
    return Employment(
        lambda commands: wires.write(*commands), route=ROUTE, partitions=PARTITIONS, keyring=KEYRING, epochs=epochs
    )


def wanted(number: int = 1, *, digest: str = "", **fields: Any) -> PermitRequest:
    """An application for one of many employees, from noon on for ten days."""
    employee = Employee(fin=f"1AAA{number:03d}", document=f"AZE{1111110 + number}", name=f"Employee {number}")
    asked: dict[str, Any] = {"from_ms": NOON_MS, "until_ms": NOON_MS + 10 * DAY_MS, "zone": "Bakı"} | fields
    return PermitRequest(employee=employee, digest=digest, **asked)


async def outbox(redis: Client) -> list[OutboxEvent]:
    """Every event on the outboxes, partition by partition."""
    return [
        OUTBOX_DECODER.decode(fields[b"m"])
        for keys in PARTITIONS
        for _, fields in await redis.execute_command("XRANGE", keys.outbox, "-", "+")
    ]


def digest_of(name: str) -> str:
    """The digest of some request."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


@asynccontextmanager
async def serving(url: str, redis: Client) -> AsyncGenerator[House]:
    """The doors of organisations, delegates and permits."""
    clock, wires, epochs = Clock(), Wires(url), list[Epoch]()
    organisations = Organisations(wires, partitions=PARTITIONS, route=ROUTE, now_ms=clock)
    permits = employment(wires, epochs)
    bulk = Bulk()
    doors = [
        OrganisationsDoor(organisations, now_ms=clock),
        DelegatesDoor(organisations, keyring=KEYRING, now_ms=clock),
        PermitsDoor(
            organisations,
            permits,
            enlist=bulk.enlist,
            accepts=policies.load().documents.accepts,
            epochs=epochs,
            now_ms=clock,
        ),
        PermitListDoor(organisations, permits, wires=wires, epochs=epochs, now_ms=clock),
    ]

    operations = [operation for door in doors for operation in door.operations()]
    app = build_app(operations, verify=verify, readiness=readiness_of(epochs_of(wires), Settings().promise))
    async with TestClient(TestServer(app)) as http:
        yield House(http, redis, clock, wires, epochs, bulk)
    await wires.close()


@pytest.fixture
async def house(server: EmbeddedStore, redis: Client) -> AsyncGenerator[House]:
    """The doors, with an organisation that stands."""
    async with serving(server.url, redis) as found:
        await found.register()
        yield found


async def statuses(house: House, **query: str) -> list[str]:
    """What stands in a page of the list."""
    page = await (await house.ask("GET", PERMITS, params=query)).json()
    return [permit["status"] for permit in page["permits"]]


async def tag_of(house: House, code: str) -> str:
    """The ETag of a permit as it stands."""
    return (await house.ask("GET", f"{PERMITS}/{code}")).headers["ETag"]


async def edited(house: House, code: str, **fields: Any) -> Any:
    """The answer to an edit of a permit as it stands."""
    return await house.ask("PATCH", f"{PERMITS}/{code}", tag=await tag_of(house, code), json=fields)
