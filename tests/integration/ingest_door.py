"""An ingest door for tests: the role as it serves, on a free port, and what it stored."""

import asyncio
import base64
import io
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from aiohttp import ClientConnectionError, ClientSession
from aiohttp.test_utils import unused_port

from ingest import app
from lua.keys import partition_keys, tags
from permits.messages import SEALED_DECODER, InboundSms
from permits.partition import Route
from runtime import settings
from runtime.connection import Client
from runtime.day_keys import DayKeys
from runtime.sealing import opened_sms
from runtime.settings import Settings
from tests.day_keys import KEYRING
from tests.eventually import eventually

KEY: Final = b"k" * 32
PARTITIONS: Final = 4
ROUTE: Final = Route(key=KEY, partitions=PARTITIONS)
KEYS: Final = [partition_keys(tag) for tag in tags(PARTITIONS)]
SMS: Final[dict[str, Any]] = {"id": "agg-42", "from": "+994501234567", "to": "8103", "text": "2 AZE 1111111"}


def settings_of(folder: Path, url: str, **other: Any) -> Settings:
    """Settings of one ingest; its keys lie in the folder."""
    key = folder / "routing.key"
    key.write_bytes(KEY)
    if not (ring := folder / "keys" / "personal.toml").exists():
        ring.parent.mkdir(exist_ok=True)
        ring.write_text(f'current = "k1"\n[keys]\nk1 = "{base64.b64encode(KEYRING.raw["k1"]).decode()}"\n')
    given: dict[str, Any] = {"durability": "memory", "partitions": PARTITIONS, "drain_s": 1.0}
    return Settings(redis_url=url, routing_key_file=str(key), data_dir=str(folder), **(given | other))


@asynccontextmanager
async def ingesting(monkeypatch: pytest.MonkeyPatch, current: Settings) -> AsyncGenerator[ClientSession]:
    """The role, serving; a session on its door."""
    current = msgspec.structs.replace(current, ingest_port=unused_port())
    monkeypatch.setattr(settings, "load", lambda: current)
    monkeypatch.setattr(app, "start_logging", no_logging)
    stop = asyncio.Event()
    role = asyncio.create_task(app.serve(stop))
    async with ClientSession(f"http://127.0.0.1:{current.ingest_port}") as http:

        async def is_open() -> bool:
            if role.done():
                role.result()
            try:
                async with http.get("/healthz") as answer:
                    return answer.status == 200
            except ClientConnectionError:
                return False

        await eventually(is_open)
        try:
            yield http
        finally:
            stop.set()
            assert await role == 0


def no_logging(_: str) -> None:
    """The test runner's logging stays as it is."""


async def post(http: ClientSession, body: Any, **headers: str) -> tuple[int, Any, dict[str, str]]:
    """(status, decoded body, headers) of one POST; bytes go as they are, anything else as JSON."""
    sent = body if isinstance(body, bytes) else msgspec.json.encode(body)
    named = {"Content-Type": "application/json"} | {name.replace("_", "-"): text for name, text in headers.items()}
    async with http.post("/v1/sms", data=io.BytesIO(sent), headers=named) as answer:
        return answer.status, msgspec.json.decode(await answer.read()), dict(answer.headers)


async def stored(redis: Client) -> list[tuple[int, InboundSms]]:
    """(partition, SMS) of every inbound entry, partition by partition."""
    keys_of_days = await day_keys(redis)
    found: list[tuple[int, InboundSms]] = []
    for index, keys in enumerate(KEYS):
        for _, fields in await redis.execute_command("XRANGE", keys.inbound, "-", "+"):
            assert list(fields) == [b"m"]
            found.append((index, opened_sms(keys_of_days, SEALED_DECODER.decode(fields[b"m"]))))
    return found


async def day_keys(redis: Client) -> DayKeys:
    """The day keys that stand in the store."""

    async def ask(*command: Any) -> Any:
        found = await redis.execute_command(*command)
        return [part for pair in found.items() for part in pair] if isinstance(found, dict) else found  # pyright: ignore

    keys = DayKeys(ask, key=KEYS[0].day_keys, keyring=KEYRING)
    await keys.read()
    return keys
