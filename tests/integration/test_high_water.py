"""Back-pressure: above the high-water mark, and without a store, ingest says when to come again."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from redis.exceptions import ResponseError

from ingest import high_water
from ingest.high_water import HighWater
from lua.keys import partition_keys
from runtime.connection import Client, Wire
from runtime.embedded import EmbeddedStore
from runtime.settings import Settings
from tests.eventually import eventually
from tests.integration.ingest_door import KEYS, SMS, ingesting, post, settings_of, stored


@pytest.fixture(autouse=True)
def _frequent_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(high_water, "EVERY_S", 0.02)


async def answers(http: ClientSession, status: int) -> tuple[Any, dict[str, str]]:
    """Body and headers of the first POST that is answered so."""

    async def answered() -> tuple[Any, dict[str, str]] | None:
        got, body, headers = await post(http, SMS)
        return (body, headers) if got == status else None

    found = await eventually(answered)
    assert found is not None
    return found


async def ready(http: ClientSession) -> tuple[int, Any]:
    async with http.get("/readyz") as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize("spool_mb", [0, 16])
async def test_too_long_a_backlog_is_told_until_it_is_gone(
    redis: Client, server: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spool_mb: int
) -> None:
    current = settings_of(tmp_path, server.url, backlog_limit=3, spool_mb=spool_mb)
    async with ingesting(monkeypatch, current) as http:
        problem, headers = await answers(http, 503)
        assert headers["Content-Type"] == "application/problem+json"
        assert headers["Retry-After"] == "5"
        assert problem["detail"].endswith("SMS are waiting for a decision")
        status, facts = await ready(http)
        assert facts["full_because"] == problem["detail"]
        # Who never sends again is spooled: a balancer must not turn him away.
        assert (status, facts["ready"]) == ((200, True) if spool_mb else (503, False))
        waiting = len(await stored(redis))
        assert waiting >= 3
        for keys in KEYS:
            await redis.execute_command("DEL", keys.inbound)
        await answers(http, 202)
        assert (await ready(http))[0] == 200


async def test_too_full_a_memory_is_told(
    redis: Client, server: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ingesting(monkeypatch, settings_of(tmp_path, server.url, memory_limit=0.0001)) as http:
        problem, headers = await answers(http, 503)
        assert headers["Retry-After"] == "5"
        assert "memory is" in problem["detail"]


async def test_without_a_spool_a_store_that_stops_is_told_and_found_again_without_a_restart(
    own_store: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = settings_of(tmp_path, own_store.url, durability="fsync", spool_mb=0)
    async with ingesting(monkeypatch, current) as http:
        assert (await post(http, SMS))[0] == 202
        await own_store.stop()
        status, problem, headers = await post(http, SMS)
        assert (status, headers["Retry-After"]) == (503, "5")
        assert "send again" in problem["detail"]
        assert (await ready(http))[0] == 503
        await own_store.start()
        await answers(http, 202)
        assert (await ready(http))[0] == 200


async def test_no_answer_comes_before_the_append(
    redis: Client, server: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ingesting(monkeypatch, settings_of(tmp_path, server.url)) as http:
        await redis.execute_command("CLIENT PAUSE", 60_000, "WRITE")
        try:
            posting = asyncio.create_task(post(http, SMS))
            done, _ = await asyncio.wait({posting}, timeout=0.3)
            assert not done
            assert await stored(redis) == []
        finally:
            await redis.execute_command("CLIENT UNPAUSE")
        assert (await posting)[0] == 202
        assert len(await stored(redis)) == 1


async def test_without_a_spool_a_store_that_hangs_is_told_in_time(
    redis: Client, server: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.group_commit.ANSWER_S", 0.05)
    async with ingesting(monkeypatch, settings_of(tmp_path, server.url, spool_mb=0)) as http:
        await redis.execute_command("CLIENT PAUSE", 60_000, "WRITE")
        try:
            status, _, headers = await post(http, SMS)
        finally:
            await redis.execute_command("CLIENT UNPAUSE")
        assert (status, headers["Retry-After"]) == (503, "5")
        await answers(http, 202)


class DeafWire(Wire):
    """A wire whose store refuses INFO at first."""

    refusals = 2

    async def call(self, *commands: Sequence[Any], timeout_s: float = 5.0, replicas: int = 0) -> list[Any]:
        """As the wire's, but for the memory."""
        *lengths, memory = await super().call(*commands, timeout_s=timeout_s, replicas=replicas)
        self.refusals -= 1
        return [*lengths, memory if self.refusals < 0 else ResponseError("NOPERM no INFO for you")]


async def test_a_look_that_fails_does_not_end_the_watch(redis: Client, server: EmbeddedStore) -> None:
    keys = partition_keys("t")
    await redis.execute_command("XADD", keys.inbound, "*", "m", "x")
    mark = HighWater(DeafWire(server.url), [keys], Settings(backlog_limit=1))
    watching = asyncio.create_task(mark.watch())

    async def full() -> bool:
        return mark.full_because == "1 SMS are waiting for a decision"

    await eventually(full)
    assert not watching.done()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
