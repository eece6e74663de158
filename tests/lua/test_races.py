"""A hundred connections at once: whatever wins, each entry is decided once and a document gets one permit."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from lua.calls import Applied, Decided, DecideReply, Gap
from runtime.connection import Client, connect
from runtime.embedded import EmbeddedStore
from tests.lua.batches import Ask, Entry, Partition

CALLERS = 100


@pytest.fixture
async def clients(server: EmbeddedStore) -> AsyncIterator[list[Client]]:
    """A connection for each caller."""
    opened = [connect(server.url) for _ in range(CALLERS)]
    await asyncio.gather(*(client.execute_command("PING") for client in opened))
    yield opened
    await asyncio.gather(*(client.aclose() for client in opened))


async def test_of_a_hundred_calls_of_one_batch_one_decides(real: Partition, clients: list[Client]) -> None:
    batch = real.batch(await real.push(Ask(id="1")))
    replies: list[DecideReply] = await asyncio.gather(*(real.call(batch, store=client) for client in clients))
    assert sum(isinstance(reply, Decided) for reply in replies) == 1
    assert replies.count(Applied()) == CALLERS - 1
    assert len(await real.record(Ask(id="1"))) == 1
    assert len(await real.replies()) == 1
    assert await real.counts() == {"a2": 1}


async def test_of_a_hundred_lanes_that_fight_for_the_lease_one_decides(real: Partition, clients: list[Client]) -> None:
    entries = await real.push(Ask(id="1"), Ask(id="2"))
    await real.store.execute_command("DEL", real.keys.lease("decide"))

    async def lane(number: int, client: Client) -> DecideReply | None:
        mine = Partition(client)
        mine.today = real.today
        if number % 3 == 0:  # an operator who takes leases away does no harm
            await client.execute_command("DEL", mine.keys.lease("decide"))
        if await mine.lease(f"lane-{number}") is None:
            return None
        return await mine.call(mine.batch(entries))

    replies = await asyncio.gather(*(lane(number, client) for number, client in enumerate(clients)))
    assert [reply.letters for reply in replies if isinstance(reply, Decided)] == ["aq"]
    assert len(await real.replies()) == 2
    assert [entry.letters for entry in await real.audit()] == ["aq"]


@pytest.mark.parametrize("repeated", [False, True])
async def test_a_hundred_messages_of_one_document_get_one_permit(
    real: Partition, clients: list[Client], repeated: bool
) -> None:
    entries = await real.push(*(Ask(id=str(i % 10 if repeated else i)) for i in range(100)))
    choose = random.Random(8103)
    tally = Counter[str]()

    async def caller(client: Client) -> None:
        while await client.execute_command("XLEN", real.keys.inbound):
            at = choose.randrange(len(entries)) if choose.random() < 0.1 else await head(client, entries)
            reply = await real.call(real.batch(entries[at : at + choose.randint(1, 7)]), store=client)
            tally[type(reply).__name__] += 1

    async def head(client: Client, entries: list[Entry]) -> int:
        found = await client.execute_command("XRANGE", real.keys.inbound, "-", "+", "COUNT", 1)
        return next((i for i, (entry_id, _) in enumerate(entries) if found and entry_id == found[0][0]), 0)

    await asyncio.gather(*(caller(client) for client in clients))

    audited = [
        (row.entry_id, letter)
        for entry in await real.audit()
        for row, letter in zip(entry.batch.rows, entry.letters, strict=True)
    ]
    assert [entry_id for entry_id, _ in audited] == [entry_id.decode() for entry_id, _ in entries]
    outcomes = Counter(letter for _, letter in audited)
    assert outcomes == ({"a": 1, "q": 9, "D": 90} if repeated else {"a": 1, "q": 99})
    assert [e.approved for e in await real.record(Ask(id="1"))].count(True) == 1
    assert len(await real.replies()) == (10 if repeated else 100)
    assert tally["Decided"] == len(await real.audit())
    assert tally[Gap.__name__] + tally[Applied.__name__] > 0
