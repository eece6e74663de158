"""`icaze dead`: what could not be processed, listed and shown as a person or a program asks."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from icaze import main
from permits.messages import ENCODER, DeadLetter
from runtime import layout, lifecycle
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from tests.integration.ingest_door import KEYS, ROUTE

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
    name = await bury(redis, 0)
    assert await dead("list", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["reason"].split(":")[0] for line in lines] == ["not a dead letter", "not a dead letter", "no field m"]
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
