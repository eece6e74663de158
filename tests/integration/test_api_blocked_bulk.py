"""`POST /v1/blocked/bulk` on the real server: many documents onto one list, line by line, any number of times."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.exceptions import ConnectionError as StoreConnectionError

from api.blocked_bulk import BATCH
from lua.blocked import Listing
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from tests.eventually import eventually
from tests.integration.api_door import DOCUMENT, NOON_MS, PARTITIONS
from tests.integration.staff_door import RULES, Staff, serving

NOW_S = NOON_MS // 1000
NUMBER = RULES.lists["infected"]
MANY = [f"AZE{2_000_000 + number}" for number in range(2 * BATCH + 1)]


@pytest.fixture
async def staff(server: EmbeddedStore, redis: Client) -> AsyncIterator[Staff]:
    async with serving(server.url, redis) as found:
        yield found


async def bulk(staff: Staff, documents: list[str], **more: Any) -> list[str]:
    """The result of each line."""
    body = {"documents": documents, "list": "infected", "reason": "order 14"} | more
    answer = await staff.ask("blocked/bulk", body)
    assert answer.status == 200, await answer.text()
    assert answer.content_type == "application/x-ndjson"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "X-Request-Id" in answer.headers
    lines = [json.loads(line) for line in (await answer.read()).splitlines()]
    assert [line["line"] for line in lines] == list(range(1, len(lines) + 1))
    return [line["result"] for line in lines]


async def count(redis: Client, command: str, name: str) -> int:
    """Over all partitions."""
    return sum([await redis.execute_command(command, getattr(keys, name)) for keys in PARTITIONS])


async def test_each_document_is_blocked_with_an_act_of_its_own(staff: Staff, redis: Client) -> None:
    documents = [*MANY[:2], "11", DOCUMENT.lower(), DOCUMENT]
    until = "2026-01-15T08:00:00Z"
    assert await bulk(staff, documents, until=until) == ["changed", "changed", "no_document", "changed", "unchanged"]
    assert await staff.stands() == [Listing(NUMBER, NOW_S, NOW_S + 14 * 86_400)]
    assert await count(redis, "HLEN", "blocked") == 3
    assert [(act.deed, act.list) for act in await staff.acts() if act.owner][-2:] == [
        ("block", "infected"),
        ("look_up", "infected"),
    ]


async def test_the_same_again_changes_nothing(staff: Staff, redis: Client) -> None:
    assert await bulk(staff, MANY) == ["changed"] * len(MANY)
    staff.clock.now_ms += 60_000
    assert await bulk(staff, MANY) == ["unchanged"] * len(MANY)
    assert await count(redis, "HLEN", "blocked") == len(MANY)
    assert await count(redis, "XLEN", "acts") == 2 * len(MANY)


async def test_where_the_store_goes_away_the_report_says_from_which_line_on(
    staff: Staff, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, writes = staff.wires.write, list[int]()

    async def lossy(*commands: Any) -> list[Any]:
        writes.append(len(commands))
        if len(writes) == 2:
            raise StoreConnectionError("the connection broke")
        return await write(*commands)

    with monkeypatch.context() as patch:
        patch.setattr(staff.wires, "write", lossy)
        assert await bulk(staff, MANY) == ["changed"] * BATCH + ["not_done"]
    assert writes == [BATCH, BATCH]
    assert await bulk(staff, MANY) == ["unchanged"] * BATCH + ["changed"] * (len(MANY) - BATCH)


async def test_a_full_store_is_told_as_not_done(staff: Staff, redis: Client) -> None:
    await redis.execute_command("CONFIG", "SET", "maxmemory", "1")
    try:
        assert await bulk(staff, MANY) == ["not_done"]
    finally:
        await redis.execute_command("CONFIG", "SET", "maxmemory", str(512 << 20))


async def test_two_requests_at_once_take_turns(staff: Staff, redis: Client) -> None:
    results = await asyncio.gather(bulk(staff, MANY), bulk(staff, MANY[::-1]))
    assert sorted(map(set, results), key=sorted) == [{"changed"}, {"unchanged"}]
    assert await count(redis, "HLEN", "blocked") == len(MANY)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"list": "infectd"}, 422),
        ({"until": "2025-12-31"}, 422),
        ({"documents": []}, 400),
        ({"documents": ["A"] * 100_001}, 400),
        ({"documents": [DOCUMENT * 5]}, 400),
        ({"reason": ""}, 400),
    ],
)
async def test_what_makes_no_sense_is_refused_whole(
    staff: Staff, redis: Client, change: dict[str, Any], status: int
) -> None:
    body = {"documents": [DOCUMENT], "list": "infected", "reason": "order 14"} | change
    assert (await staff.refused("blocked/bulk", body))[0] == status
    assert await redis.execute_command("DBSIZE") == 0


async def test_questions_are_answered_while_many_documents_are_blocked(staff: Staff) -> None:
    documents = [f"AZE{3_000_000 + number}" for number in range(5_000)]
    under_way = asyncio.create_task(bulk(staff, documents))
    waits_s: list[float] = []
    while not under_way.done():
        began_s = time.perf_counter()
        await staff.told("blocked/look-up", {"document": DOCUMENT})
        waits_s.append(time.perf_counter() - began_s)
    assert await under_way == ["changed"] * len(documents)
    assert len(waits_s) > 5
    assert sorted(waits_s)[len(waits_s) // 2] < 0.5


async def test_a_report_that_nobody_reads_gives_its_turn_up(staff: Staff, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.blocked_bulk.UNREAD_S", 0.2)
    answer = await staff.ask("blocked/bulk", {"documents": ["1"], "list": "infected", "reason": "order 14"})
    many = {"documents": [DOCUMENT, *["1"] * 99_999], "list": "infected", "reason": "order 14"}
    body, url = json.dumps(many).encode(), staff.http.make_url("/")
    head = {
        "Host": "api",
        "Authorization": answer.request_info.headers["Authorization"],
        "Content-Type": "application/json",
        "Content-Length": len(body),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(deaf, (url.host, url.port))
        await loop.sock_sendall(deaf, f"POST /v1/blocked/bulk HTTP/1.1\r\n{lines}\r\n".encode() + body)

        async def has_its_turn() -> bool:
            return await staff.stands() != []

        await eventually(has_its_turn)
        assert await asyncio.wait_for(bulk(staff, MANY[:2]), 15) == ["changed", "changed"]
