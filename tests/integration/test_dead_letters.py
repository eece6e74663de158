"""`icaze dead`: what could not be processed, listed and shown as a person or a program asks."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from msgspec import structs

from icaze import main
from permits.messages import ENCODER, DeadLetter, InboundSms
from processor.verification import store_at_rest
from runtime import layout, lifecycle
from runtime.connection import Client
from runtime.day_keys import DayKeys
from runtime.embedded import EmbeddedStore
from runtime.sealing import sealed_letter
from tests.day_keys import sealed
from tests.integration.ingest_door import KEYS, ROUTE, day_keys, settings_of

DEAD_MS = 1_767_254_400_000


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, server: EmbeddedStore) -> None:
    monkeypatch.delenv("ICAZE_CONFIG", raising=False)
    monkeypatch.setenv("ICAZE_REDIS_URL", server.url)
    monkeypatch.setattr(lifecycle, "run", _run)


def _run(work: Callable[[asyncio.Event], Awaitable[int]]) -> int:
    """Without signal handlers, which only the main thread may set."""
    return asyncio.run(_awaited(work))


async def _awaited(work: Callable[[asyncio.Event], Awaitable[int]]) -> int:
    return await work(asyncio.Event())


async def dead(*words: str) -> int:
    """The command's exit code; it runs an event loop of its own, as from a shell."""
    return await asyncio.to_thread(main, ["dead", *words])


async def bury(redis: Client, index: int, **other: object) -> str:
    """One dead letter in a partition: its name."""
    await layout.settle(redis, ROUTE)
    fields: dict[str, object] = {
        "kind": "inbound",
        "entry_id": "1767254399000-0",
        "reason": "no field m",
        "dead_ms": DEAD_MS,
        "raw": '{"text": "\\xff"}',
    }
    letter = ENCODER.encode(DeadLetter(**(fields | other)))  # pyright: ignore[reportArgumentType]
    entry: bytes = await redis.execute_command("XADD", KEYS[index].dead, "*", "m", letter)
    return f"{KEYS[index].tag}/{entry.decode()}"


async def test_none_are_said_to_be_none(redis: Client, capsys: pytest.CaptureFixture[str]) -> None:
    await layout.settle(redis, ROUTE)
    assert await dead("list") == 0
    assert capsys.readouterr().out == "no dead letters\n"
    assert await dead("list", "--json") == 0
    assert capsys.readouterr().out == ""


async def test_all_partitions_are_listed_a_line_each(redis: Client, capsys: pytest.CaptureFixture[str]) -> None:
    first = await bury(redis, 0)
    second = await bury(redis, 3, kind="reply", reason="lapsed")
    assert await dead("list") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{first}  2026-01-01T08:00:00.000Z  inbound      no field m",
        f"{second}  2026-01-01T08:00:00.000Z  reply        lapsed",
    ]
    assert await dead("list", "--kind", "reply", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "name": second,
        "kind": "reply",
        "dead_at": "2026-01-01T08:00:00.000Z",
        "reason": "lapsed",
    }


async def test_more_than_a_page_is_listed_once_and_in_order(redis: Client, capsys: pytest.CaptureFixture[str]) -> None:
    names = [await bury(redis, 0) for _ in range(405)]
    assert await dead("list", "--json") == 0
    assert [json.loads(line)["name"] for line in capsys.readouterr().out.splitlines()] == names


async def test_one_is_shown_with_its_content(redis: Client, capsys: pytest.CaptureFixture[str]) -> None:
    name = await bury(redis, 2)
    assert await dead("show", name, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["raw"], shown["reason"], shown["dead_ms"]) == ('{"text": "\\xff"}', "no field m", DEAD_MS)
    assert await dead("show", name) == 0
    assert capsys.readouterr().out.splitlines()[1] == '{"text": "\\xff"}'


SMS = InboundSms(
    id="agg-1", source="dev", sender="+994501234567", to="8103", text="2 AZE 1111111", arrived_ms=DEAD_MS - 1000
)


@pytest.fixture
async def keys(redis: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DayKeys:
    """Today's key, in the store."""
    settings_of(tmp_path, "")
    monkeypatch.setenv("ICAZE_DATA_DIR", str(tmp_path))
    keys = await day_keys(redis)
    await keys.refresh()
    return keys


async def test_what_is_sealed_is_opened_to_whoever_asks_for_it(
    redis: Client, keys: DayKeys, capsys: pytest.CaptureFixture[str]
) -> None:
    key = next(iter(keys.known.values()))
    letter = sealed_letter(key, DeadLetter("reply", "1-1", "lapsed", DEAD_MS, "İcazə +994501234567", reply_id="x-1"))
    whole = await bury(redis, 1, **structs.asdict(letter))
    raw = ENCODER.encode(sealed(key, SMS)).decode()
    entry = await bury(redis, 1, raw=raw)
    assert await dead("list", "--json") == 0
    assert "994501234567" not in capsys.readouterr().out
    assert await dead("show", whole, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["raw"], "day" in said) == ("İcazə +994501234567", False)
    assert await dead("show", entry) == 0
    assert capsys.readouterr().out.splitlines()[1].encode() == ENCODER.encode(SMS)


async def test_what_was_erased_is_said_to_be_gone(
    redis: Client, keys: DayKeys, capsys: pytest.CaptureFixture[str]
) -> None:
    key = next(iter(keys.known.values()))
    entry = await bury(redis, 1, raw=ENCODER.encode(sealed(key, SMS)).decode())
    moved = await bury(redis, 1, **structs.asdict(sealed_letter(key, DeadLetter("reply", "1-1", "lapsed", 1, "salam"))))
    other = await bury(redis, 1, raw=ENCODER.encode(structs.replace(sealed(key, SMS), id="agg-2")).decode())
    assert await dead("show", other) == 0
    said = capsys.readouterr()
    assert "agg-2" in said.out
    assert said.err == f"icaze dead: not sealed by the key of {key.day} for this place\n"
    await redis.execute_command("DEL", KEYS[0].day_keys)
    for name in (entry, moved):
        assert await dead("show", name, "--json") == 0
        said = capsys.readouterr()
        assert said.err == "icaze dead: its text and sender are gone: the key of their day was erased\n"
        assert "994501234567" not in said.out
        assert json.loads(said.out)["reason"]
    assert await redis.execute_command("EXISTS", KEYS[0].day_keys) == 0, "whoever looks makes no key"


@pytest.mark.parametrize("name", ["", "nowhere", "00x/1-1", "/1-1", "00x/", "00x/salam"])
async def test_a_name_of_none_is_refused(name: str, redis: Client, capsys: pytest.CaptureFixture[str]) -> None:
    await bury(redis, 0)
    assert await dead("show", name) == 1
    assert "Traceback" not in (said := capsys.readouterr().err)
    assert said.startswith("icaze")


async def test_a_letter_that_cannot_be_read_does_not_hide_the_others(
    redis: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    await redis.execute_command("XADD", KEYS[0].dead, "*", "m", "not JSON")
    await redis.execute_command("XADD", KEYS[0].dead, "*", "x", "1")
    await redis.execute_command("XADD", KEYS[0].dead, "*", "m", '{"x":' + "[" * 10_000 + "]" * 10_000 + "}")
    name = await bury(redis, 0)
    assert await dead("list", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["reason"].split(":")[0] for line in lines] == ["not a dead letter"] * 3 + ["no field m"]
    assert (await store_at_rest.dead(redis, KEYS[0])).letters.standing == 4
    assert lines[-1]["name"] == name
    assert await dead("show", lines[0]["name"]) == 0
    assert "not JSON" in capsys.readouterr().out


async def test_a_store_that_is_not_ours_or_not_there_is_named(
    redis: Client, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await redis.execute_command("FLUSHALL")
    assert await dead("list") == 1
    assert "no icaze data in it" in capsys.readouterr().err
    monkeypatch.setenv("ICAZE_REDIS_URL", f"unix://{tmp_path}/none.sock")
    assert await dead("list") == 1
    assert f"icaze: store unix://{tmp_path}/none.sock: " in capsys.readouterr().err


async def test_at_level_replicated_a_drop_that_no_replica_has_is_not_said_to_be_made(
    redis: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = await bury(redis, 0)
    monkeypatch.setenv("ICAZE_DURABILITY", "replicated")
    assert await dead("drop", name, "--reason", "read by a person") == 1
    assert "0 of 1 replicas" in capsys.readouterr().err
