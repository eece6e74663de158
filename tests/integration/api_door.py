"""An api door for tests: a clock that they set, a token that counts, and decisions planted as records."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, AppRunner, Request
from joserfc.jwk import OKPKey

from api import dev_issuer
from api.app import build_app, readiness_of, registry
from api.auth import Verify
from api.contract import Operation
from api.monitor import MonitorDoor
from api.parts import assembled
from api.wires import Wires
from lua.keys import partition_keys, tags
from lua.records import timing
from permits import policy as policies
from permits.calendar import day_name, local_day
from permits.partition import Route
from permits.policy import Policy
from permits.versions import Founding
from runtime.connection import Client, Wire
from runtime.doors import shorten
from runtime.epochs import Epochs
from runtime.keyring import Keyring
from runtime.settings import Settings
from tests.day_records import static_struct

Http = TestClient[Request, Application]


ROUTE: Final = Route(key=b"k" * 32, partitions=4)
PARTITIONS: Final = [partition_keys(tag) for tag in tags(4)]
KEY: Final = OKPKey.generate_key("Ed25519")
DOCUMENT: Final = "AZE1111111"
NOON_MS: Final = 1_767_254_400_000
"""2026-01-01 12:00 in Baku (08:00 UTC)."""
DIGEST: Final = bytes.fromhex("a1b2c3d4e5f6")


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now_ms = NOON_MS

    def __call__(self) -> int:
        return self.now_ms


def take_short_ways(server: TestServer) -> None:
    """As `runtime.doors.opened` does for the role."""
    assert isinstance(server.runner, AppRunner)
    shorten(server.runner)


def token(clock: Clock, scope: str = "status") -> str:
    return dev_issuer.issue(KEY, subject="test", scope=scope, minutes=60, now_ms=clock.now_ms).token


def operations(wires: Wires, wire: Wire, now_ms: Callable[[], int], policy: Policy | None = None) -> list[Operation]:
    """Every operation of the api, on the tests' layout and keys."""
    parts = assembled(
        wires,
        partitions=PARTITIONS,
        route=ROUTE,
        policy=policy or policies.load(),
        founding=Founding("file-0123abcd", policies.DEFAULT_FILE.read_text()),
        keyring=Keyring({"k1": b"k" * 32}, "k1"),
        script="plain",
        now_ms=now_ms,
    )
    return registry(parts, MonitorDoor(wire=wire, partitions=PARTITIONS, now_ms=now_ms))


def epochs_of(wires: Wires) -> Epochs:
    """The epochs as the api reads them."""

    async def ask(*command: Any) -> Any:
        return (await wires.read(command))[0]

    return Epochs(ask)


@asynccontextmanager
async def serving(
    url: str, clock: Clock, *, verify: Verify | None = None, policy: Policy | None = None, patience_s: float = 2.0
) -> AsyncGenerator[Http]:
    wires = Wires(url, patience_s=patience_s)
    app = build_app(
        operations(wires, Wire(url), clock, policy),
        verify=verify or dev_issuer.verifier(KEY, clock),
        readiness=readiness_of(epochs_of(wires), Settings().promise),
    )
    door = TestServer(app)
    await door.start_server(access_log=None)  # as the role's own door
    take_short_ways(door)
    async with TestClient(door) as http:
        yield http
    await wires.close()


async def plant(
    redis: Client,
    *,
    letter: str = "a",
    purpose: int = 2,
    minutes: int = 180,
    decided_ms: int,
    arrived_ms: int | None = None,
    days_to_arrival: int = 0,
    document: str = DOCUMENT,
    digest: bytes = DIGEST,
    owner_tag: bytes | None = None,
    sender: bytes = b"ph",
) -> None:
    """Append one decision to its owner's record, as the deciding function writes it."""
    partition, owner = ROUTE.of_document(document)
    arrived_s = (decided_ms if arrived_ms is None else arrived_ms) // 1000
    word = timing(arrived_s=arrived_s, decided_s=decided_ms // 1000, minutes=minutes, days_to_arrival=days_to_arrival)
    entry = static_struct(owner_tag or owner[4:], digest, arrived_s, word, sender, purpose) + letter.encode()
    key = PARTITIONS[partition].day(day_name(local_day(arrived_s * 1000)))
    stored: bytes | None = await redis.execute_command("HGET", key, owner[:4])
    await redis.execute_command("HSET", key, owner[:4], (stored or b"") + entry)


async def asked(http: Http, clock: Clock, document: str = DOCUMENT) -> list[dict[str, Any]]:
    response = await http.post(
        "/v1/status", json={"document": document}, headers={"Authorization": f"Bearer {token(clock)}"}
    )
    assert response.status == 200, await response.text()
    assert response.content_type == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    body = await response.json()
    assert list(body) == ["permits"]
    return body["permits"]
