"""`icaze explain --document`, `icaze block` and `icaze unblock`, which ask the running api; documents come by stdin."""

import asyncio
import io
import json
import sys
from collections.abc import AsyncIterator

import pytest

import icaze
from api.token_command import SCOPES
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from tests.integration.api_door import DOCUMENT, NOON_MS, Clock, plant, serving, token

BLOCK = ("block", "--list", "infected", "--reason", "order 14")
UNBLOCK = ("unblock", "--list", "infected", "--reason", "recovered")
EXPLAIN = ("explain", "--document")
STOOD = "infected from 2026-01-01T08:00:00.000Z to 2026-01-31T20:00:00.000Z"


@pytest.fixture(autouse=True)
async def _api(server: EmbeddedStore, redis: Client, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    clock = Clock()
    async with serving(server.url, clock) as http:
        monkeypatch.setenv("ICAZE_API_PORT", str(http.port))
        monkeypatch.setenv("ICAZE_TOKEN", token(clock, SCOPES["staff"]))
        monkeypatch.delenv("ICAZE_CONFIG", raising=False)
        yield


@pytest.fixture
def document(monkeypatch: pytest.MonkeyPatch) -> None:
    """On standard input of each command."""

    class Input:
        @staticmethod
        def isatty() -> bool:
            return False

        @staticmethod
        def readline(limit: int) -> str:
            return f"{DOCUMENT}\n"[:limit]

    monkeypatch.setattr(sys, "stdin", Input)


async def ran(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    """What a command prints, in a thread, since the api answers in this one."""
    assert await asyncio.to_thread(icaze.main, words) == code
    printed = capsys.readouterr()
    assert "1111111" not in printed.out + printed.err
    return printed.err if code else printed.out


@pytest.mark.usefixtures("document")
async def test_a_document_is_blocked_and_unblocked(capsys: pytest.CaptureFixture[str]) -> None:
    until = ("--until", "2026-01-31")
    assert await ran(capsys, *BLOCK, *until) == f"changed: {STOOD}\n"
    assert await ran(capsys, *BLOCK, *until) == f"unchanged: {STOOD}\n"
    assert f"on the list {STOOD}\n" in await ran(capsys, *EXPLAIN)
    assert json.loads(await ran(capsys, *UNBLOCK, "--json"))["changed"] is True
    assert await ran(capsys, *UNBLOCK) == "unchanged: not on the list\n"


@pytest.mark.usefixtures("document")
async def test_a_history_is_told_in_lines(capsys: pytest.CaptureFixture[str], redis: Client) -> None:
    await plant(redis, purpose=1, decided_ms=NOON_MS - 7_200_000, sender=b"me")
    await plant(redis, letter="c", purpose=1, decided_ms=NOON_MS - 120_000, sender=b"me")
    await plant(redis, letter="u", purpose=0, decided_ms=NOON_MS - 60_000, sender=b"no")
    told = (await ran(capsys, *EXPLAIN)).splitlines()
    assert told[:2] == [
        "today: 3 of 20 requests, by 2 of 5 phones",
        "within the hour: 1 refusals to one phone, of which 5 get a reply",
    ]
    code = told[2].split()[1]
    assert told[2:] == [
        f"permit {code} in force until 2026-01-01T09:00:00.000Z",
        "2026-01-01T07:59:00.000Z  phone 2  purpose -  refused (unknown_code)",
        "2026-01-01T07:58:00.000Z  phone 1  purpose 1  cancelled",
        f"2026-01-01T06:00:00.000Z  phone 1  purpose 1  approved ({code})",
    ]


@pytest.mark.usefixtures("document")
async def test_a_history_of_nothing_says_so_and_is_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert "nobody has asked for this document lately\n" in await ran(capsys, *EXPLAIN)
    assert json.loads(await ran(capsys, *EXPLAIN, "--json"))["decisions"] == []


@pytest.mark.usefixtures("document")
async def test_a_refusal_of_the_api_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = await ran(capsys, "block", "--list", "infectd", "--reason", "x", code=1)
    assert said.startswith("icaze: the api answered 422: No such list: the rules have ")
    monkeypatch.setenv("ICAZE_TOKEN", token(Clock(), "status"))
    assert "answered 403" in await ran(capsys, *EXPLAIN, code=1)
    monkeypatch.delenv("ICAZE_TOKEN")
    assert "ICAZE_TOKEN is not set" in await ran(capsys, *EXPLAIN, code=1)


@pytest.mark.usefixtures("document")
async def test_an_api_that_is_away_or_a_broken_token_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICAZE_TOKEN", "two\nlines")
    assert "ValueError" in await ran(capsys, *EXPLAIN, code=1)
    monkeypatch.setenv("ICAZE_TOKEN", "one")
    monkeypatch.setenv("ICAZE_API_PORT", "1")
    assert "is `icaze api` running?" in await ran(capsys, *EXPLAIN, code=1)


async def test_without_a_document_nothing_is_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    assert "no document on standard input" in await ran(capsys, *BLOCK, code=1)
