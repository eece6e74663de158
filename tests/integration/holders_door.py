"""The doors that ask about holders, for tests: limits and a clock that they set, employees' permits planted whole."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer

from api import dev_issuer
from api.app import build_app, readiness_of
from api.checks import ChecksDoor
from api.guessing import Guessing
from api.holders import Holders
from api.limits import Bounds, Limits
from api.me import MeDoor
from api.seals import Seals
from api.status import Status
from api.wires import Wires
from lua import changes
from lua.changes import Change
from permits import policy as policies
from permits.amended import AmendedPermit
from permits.calendar import HOUR_MS
from permits.employees import Actor, Employee, Epoch, Request, Stored
from permits.messages import ENCODER
from permits.partition import FIELD_BYTES
from permits.policy import Policy
from runtime.connection import Client, Wire
from runtime.employment import Employment
from runtime.keyring import Keyring
from runtime.permit_changes import Versioned
from runtime.settings import Settings
from tests.integration.api_door import (
    DIGEST,
    DOCUMENT,
    KEY,
    NOON_MS,
    PARTITIONS,
    ROUTE,
    Clock,
    Http,
    epochs_of,
    take_short_ways,
)

FIN: Final = "1A2B3C4"
TIN: Final = "1234567890"
ACTOR: Final = Actor("anna")
RULES: Final = policies.load()
AMPLE: Final = Bounds(client_rate=1e9, client_burst=1e9)


@asynccontextmanager
async def serving(
    url: str,
    clock: Clock,
    *,
    epochs: Sequence[Epoch] = (),
    bounds: Bounds = AMPLE,
    patience_s: float = 2.0,
    rules: Policy = RULES,
    seals: Seals | None = None,
) -> AsyncGenerator[Http]:
    """Status, checks and me; the limits' clock is the same as the records'."""
    wires = Wires(url, patience_s=patience_s, seals=seals)
    holders = Holders(wires, partitions=PARTITIONS, route=ROUTE, policy=lambda: rules, epochs=epochs, now_ms=clock)
    guessing = Guessing(Limits(bounds), lambda: clock() / 1000)
    operations = [
        *Status(holders, guessing).operations(),
        *ChecksDoor(
            holders, guessing, wires=wires, partitions=PARTITIONS, policy=lambda: rules, now_ms=clock
        ).operations(),
        *MeDoor(holders, guessing).operations(),
    ]
    app = build_app(
        operations, verify=dev_issuer.verifier(KEY, clock), readiness=readiness_of(epochs_of(wires), Settings().promise)
    )
    door = TestServer(app)
    await door.start_server(access_log=None)
    take_short_ways(door)
    async with TestClient(door) as http:
        yield http
    await wires.close()


def token_of(clock: Clock, scope: str, *, subject: str = "test", **claims: str | list[str]) -> dict[str, str]:
    """The header of somebody's token."""
    issued = dev_issuer.issue(KEY, subject=subject, scope=scope, minutes=60, now_ms=clock.now_ms, claims=claims)
    return {"Authorization": f"Bearer {issued.token}"}


async def ask(
    http: Http, clock: Clock, path: str, body: Any, *, subject: str = "test", client: str = ""
) -> ClientResponse:
    """A question by a service's token."""
    return await http.post(path, json=body, headers=token_of(clock, "status checks", subject=subject, azp=client))


async def told(http: Http, clock: Clock, path: str, body: Any) -> dict[str, Any]:
    """Its answer."""
    response = await ask(http, clock, path, body)
    assert response.status == 200, await response.text()
    assert response.headers["Cache-Control"] == "no-store"
    return await response.json()


async def employ(
    url: str,
    redis: Client,
    *,
    status: Stored = "transmitted",
    document: str = DOCUMENT,
    fin: str = FIN,
    tin: str = TIN,
    zone: str | None = None,
    reason: str | None = None,
    from_ms: int = NOON_MS - HOUR_MS,
    until_ms: int = NOON_MS + 24 * HOUR_MS,
) -> Versioned:
    """An employee's permit of a status, indexed as the dispatcher does."""
    wire = Wire(url)
    employment = Employment(
        lambda commands: wire.call(*commands),
        route=ROUTE,
        partitions=PARTITIONS,
        keyring=Keyring({"k1": b"k" * 32}, "k1"),
        epochs=(),
    )
    request = Request(Employee(fin, document, "Anna"), from_ms, until_ms, zone=zone, draft=status == "draft")
    at_ms = NOON_MS - 2 * HOUR_MS
    (made,) = await employment.create(tin, "Bakery", [request], actor=ACTOR, now_ms=at_ms)
    standing = made.standing
    assert standing is not None
    if status in ("confirmed", "transmitted", "refused"):
        deed: Any = "refuse" if status == "refused" else "confirm"
        stored: Stored = "refused" if status == "refused" else "confirmed"
        standing = await employment.amend(
            standing, deed=deed, actor=ACTOR, now_ms=at_ms + 60_000, status=stored, reason=reason
        )
        assert standing is not None
    if status in ("transmitted", "cancelled"):
        deed = "transmit" if status == "transmitted" else "cancel"
        standing = await employment.amend(
            standing, deed=deed, actor=ACTOR, now_ms=at_ms + 120_000, status=status, reason=reason
        )
        assert standing is not None
    await wire.close()
    permit = standing.permit
    person = PARTITIONS[permit.person_partition].person(bytes.fromhex(permit.person))
    await redis.execute_command("ZADD", person, at_ms, permit.code)
    return standing


async def amend(redis: Client, code: str, **fields: Any) -> None:
    """An officer's change of the permit that `plant` has planted at NOON_MS - HOUR_MS."""
    partition, owner = ROUTE.of_document(DOCUMENT)
    decided_ms = NOON_MS - HOUR_MS
    permit = AmendedPermit(
        code=code,
        owner=owner.hex(),
        digest=DIGEST.hex(),
        asked_ms=decided_ms,
        decided_s=decided_ms // 1000,
        purpose=1,
        from_ms=decided_ms,
        until_ms=fields.pop("until_ms", decided_ms + 3 * HOUR_MS),
        ends_ms=fields.pop("ends_ms", decided_ms + 3 * HOUR_MS),
        **fields,
    )
    held = PARTITIONS[partition].holder(owner[:FIELD_BYTES])
    await changes.change(
        redis,
        PARTITIONS[partition],
        Change(hash=held, field=permit.field, record=changes.written(1, ENCODER.encode(permit))),
    )
