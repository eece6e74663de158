"""The spool as an aggregator, an operator and the monitor see it: the role as it serves."""

import time
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from aiohttp import ClientSession

from bench.posts import SECRET
from bench.push import Signer
from ingest import high_water, spool_replay
from runtime import spools
from runtime.connection import Client, connect
from runtime.embedded import EmbeddedStore
from tests.eventually import eventually
from tests.integration.ingest_door import KEYS, SMS, ingesting, post, settings_of, stored
from tests.integration.monitor_door import PARTITIONS as MONITORED
from tests.integration.monitor_door import Clock, monitor_door, serving, shown

OTHER: Final = "whsec_b2YgYW5vdGhlciBhZ2dyZWdhdG9yLCBubyBzZWNyZXQ="


@pytest.fixture(autouse=True)
def _frequent_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(high_water, "EVERY_S", 0.02)
    monkeypatch.setattr(spool_replay, "LOOK_S", 0.02)


async def ready(http: ClientSession) -> tuple[int, dict[str, Any]]:
    async with http.get("/readyz") as answer:
        return answer.status, await answer.json()


async def empty(http: ClientSession) -> None:
    """Returns when the store has all that was spooled."""

    async def ended() -> bool:
        status, facts = await ready(http)
        return status == 200 and facts["stored"] and not facts["spooled"]

    await eventually(ended)


async def test_an_aggregator_does_not_notice_that_the_store_is_away(
    own_store: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ingesting(monkeypatch, settings_of(tmp_path, own_store.url, durability="fsync")) as http:
        assert (await post(http, {**SMS, "id": "0"}))[:2] == (202, {"accepted": 1, "ids": ["0"], "rejected": []})
        own_store.kill()
        for n in range(1, 4):
            answer = await post(http, {**SMS, "id": str(n)})
            assert answer[:2] == (202, {"accepted": 1, "ids": [str(n)], "rejected": []})
        status, facts = await ready(http)
        assert (status, facts["ready"], facts["stored"], facts["spooled"]) == (200, True, False, 3)
        assert facts["spool_bytes"] > 0
        async with http.get("/metrics") as answer:
            assert "icaze_spool_entries 3.0" in await answer.text()
        raw = b"".join(path.read_bytes() for path in _files(tmp_path / "spool"))
        assert b"994501234567" not in raw
        assert b"1111111" not in raw
        await own_store.start()
        await empty(http)
        assert (await post(http, {**SMS, "id": "4"}))[0] == 202
    client = connect(own_store.url)
    assert [sms.id for _, sms in await stored(client)] == ["0", "1", "2", "3", "4"]
    await client.aclose()


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_a_full_spool_is_told_with_a_time_to_come_again(
    own_store: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = settings_of(tmp_path, own_store.url, durability="fsync", spool_mb=1)
    batch = [{**SMS, "id": f"{n:050d}"} for n in range(1000)]
    async with ingesting(monkeypatch, current) as http:
        own_store.kill()
        taken = 0
        while (answer := await post(http, batch))[0] == 202:
            taken += 1
            batch = [{**sms, "id": f"{taken}{sms['id']}"} for sms in batch]
        assert taken >= 1
        assert (answer[0], answer[2]["Retry-After"]) == (503, "5")
        assert "the spool holds" in answer[1]["detail"]
        assert (await ready(http))[0] == 503
        await own_store.start()
        await empty(http)
        assert (await post(http, SMS))[0] == 202
    client = connect(own_store.url)
    assert len(await stored(client)) == 1000 * taken + 1
    await client.aclose()


async def test_above_the_high_water_mark_only_who_never_retries_is_spooled(
    redis: Client, server: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "aggregators.toml"
    file.write_text(
        f'[[aggregator]]\nname = "again"\nsecrets = ["{SECRET}"]\n'
        f'[[aggregator]]\nname = "once"\nsecrets = ["{OTHER}"]\nretries = false\n'
    )

    async def push(secret: str, sms_id: str) -> tuple[int, Any]:
        body = msgspec.json.encode({**SMS, "id": sms_id})
        status, answer, _ = await post(http, body, **Signer(secret).headers(sms_id, int(time.time()), body))
        return status, answer

    async def marked() -> bool:
        return (await ready(http))[1]["full_because"] is not None

    current = settings_of(tmp_path, server.url, backlog_limit=2, aggregators_file=str(file))
    async with ingesting(monkeypatch, current) as http:
        for n in range(2):
            assert (await push(SECRET, f"again-{n}"))[0] == 202
        await eventually(marked)
        assert (await push(SECRET, "again-2"))[0] == 503
        assert (await push("whsec_" + "A" * 32, "nobody"))[0] == 401
        assert await push(OTHER, "once-0") == (202, {"accepted": 1, "ids": ["once-0"], "rejected": []})
        status, facts = await ready(http)
        assert (status, facts["spooled"]) == (200, 1), "a balancer must not turn away who never sends again"
        for keys in KEYS:
            await redis.execute_command("DEL", keys.inbound)
        await empty(http)
        assert [sms.id for _, sms in await stored(redis)] == ["once-0"]


async def test_the_monitor_adds_up_what_processes_still_have(redis: Client, server: EmbeddedStore) -> None:
    clock = Clock()
    said = {
        "a/0": spools.Left(entries=5, oldest_ms=clock() - 9000, at_ms=clock() - 1000),
        "b/0": spools.Left(entries=7, oldest_ms=clock() - 30_000, at_ms=clock()),
        "b/1": spools.Left(entries=90, oldest_ms=clock() - 99_000, at_ms=clock() - spools.STALE_MS - 1),
    }
    key = MONITORED[0].spools
    for owner, left in said.items():
        for command in spools.tell_commands(key, owner, left):
            await redis.execute_command(*command)
    await redis.execute_command("HSET", key, "odd", "no json")
    door = monitor_door(server.url, clock)
    async with serving(door) as http:
        await door.look()
        lag = (await shown(http))["lag"]
        assert (lag["spooled"], lag["oldest_spooled_s"]) == (12, 30.0)
        for owner in said:
            for command in spools.tell_commands(key, owner, spools.Left(entries=0, oldest_ms=0, at_ms=clock())):
                await redis.execute_command(*command)
        await door.look()
        lag = (await shown(http))["lag"]
        assert (lag["spooled"], lag["oldest_spooled_s"]) == (0, 0.0)
