"""Settlements on the real server: written whatever the store does, and nothing is trimmed that somebody needs."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from redis.exceptions import ConnectionError as StoreConnectionError

from dispatch.ledger import SILENCE_MS, Ledger
from dispatch.outgoing import Outgoing, from_entry
from dispatch.reply_lane import ReplyLane
from lua import calls
from lua.calls import Command
from lua.keys import DISPATCH_GROUP, LANE, PartitionKeys
from permits.messages import DEAD_DECODER
from runtime.connection import Client, Wire
from runtime.embedded import EmbeddedStore
from runtime.leases import Lease
from runtime.sealing import opened_letter
from tests.day_keys import every_day
from tests.eventually import eventually
from tests.integration.dispatching import PARTITIONS, dead, left, pending, queue, register

HERE, THERE = PARTITIONS[:2]
BOTH = PARTITIONS[:2]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatch.ledger.TRIM_EVERY_S", 0.02)
    monkeypatch.setattr("dispatch.ledger.RETRY_S", 0.02)


class Faulty(Wire):
    """Fails as often as told, before a call or after the store has done it."""

    fails_before = 0
    fails_after = 0

    async def call(self, *commands: Command | Sequence[Any], timeout_s: float = 5.0, replicas: int = 0) -> list[Any]:
        if self.fails_before:
            self.fails_before -= 1
            raise StoreConnectionError("cut before")
        replies = await super().call(*commands, timeout_s=timeout_s, replicas=replicas)
        if self.fails_after:
            self.fails_after -= 1
            raise StoreConnectionError("cut after")
        return replies


class Book:
    """A ledger, and lanes whose replies it settles."""

    def __init__(self, url: str, store: Client) -> None:
        self.wire = Faulty(url)
        self.keys = every_day()
        self.ledger = Ledger(self.wire, self.keys)
        self.store = store
        self.settled: list[bytes] = []
        self.lanes = {keys.tag: self._lane(keys, url) for keys in BOTH}
        self._running: asyncio.Task[None] | None = None

    def _lane(self, keys: PartitionKeys, url: str) -> ReplyLane:
        book = self

        class Noting(ReplyLane):
            def settled(self, entry_ids: Any) -> None:
                book.settled += entry_ids
                super().settled(entry_ids)

        return Noting(Lease(0, keys, "1", time.monotonic() + 3600), wire=Wire(url), submit=lambda _: None)

    async def read(self, keys: PartitionKeys, count: int) -> list[Outgoing]:
        """Queue and read so many replies."""
        await queue(self.store, count, partitions=[keys])
        command = ("XREADGROUP", "GROUP", DISPATCH_GROUP, LANE, "STREAMS", keys.replies, ">")
        entries: list[tuple[bytes, dict[bytes, bytes]]] = (await self.store.execute_command(*command))[0][1]
        lane = self.lanes[keys.tag]
        return [from_entry(lane, entry_id, [b"m", fields[b"m"]], ambiguous=False) for entry_id, fields in entries]

    def start(self) -> None:
        self._running = asyncio.create_task(self.ledger.run())

    async def end(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        await self.ledger.finish()

    async def until(self, *, unsettled: int, on_stream: int | None = None) -> None:
        """Wait for so many pending entries, and so many on the streams."""

        async def is_so() -> bool:
            lengths = await left(self.store, BOTH)
            return await pending(self.store, BOTH) == unsettled and on_stream in (None, lengths)

        await eventually(is_so)


@pytest.fixture
async def book(server: EmbeddedStore, redis: Client) -> AsyncIterator[Book]:
    await register(redis, BOTH)
    found = Book(server.url, redis)
    yield found
    await found.end()


async def test_what_was_sent_is_acknowledged_settled_and_trimmed(book: Book) -> None:
    sent = await book.read(HERE, 30) + await book.read(THERE, 20)
    book.start()
    for outgoing in sent:
        book.ledger.sent(outgoing)
    await book.until(unsettled=0, on_stream=0)
    assert sorted(book.settled) == sorted(outgoing.entry_id for outgoing in sent)


async def test_a_dead_letter_waits_for_the_key_that_seals_it_and_holds_its_reply(book: Book) -> None:
    [outgoing] = await book.read(HERE, 1)
    known, book.keys.known = book.keys.known, {}
    book.ledger.dead(outgoing, "lapsed")
    await book.ledger.finish()
    assert (await dead(book.store, BOTH), await pending(book.store, BOTH)) == ([], 1)
    book.keys.known = known
    book.start()
    await book.until(unsettled=0, on_stream=0)
    [(_, fields)] = await book.store.execute_command("XRANGE", HERE.dead, "-", "+")
    letter = DEAD_DECODER.decode(fields[b"m"])
    assert (letter.reason, letter.reply_id) == ("lapsed", outgoing.id)
    assert outgoing.body.decode() not in letter.raw
    assert opened_letter(book.keys, letter).raw == outgoing.body.decode()


async def test_an_entry_that_is_not_settled_holds_itself_and_what_follows(book: Book) -> None:
    sent = await book.read(HERE, 10)
    book.start()
    for outgoing in sent[:4] + sent[5:]:
        book.ledger.sent(outgoing)
    await book.until(unsettled=1, on_stream=6)
    book.ledger.sent(sent[4])
    await book.until(unsettled=0, on_stream=0)


async def test_a_dead_letter_keeps_the_reply_as_it_stood_and_ends_it(book: Book) -> None:
    (outgoing,) = await book.read(HERE, 1)
    book.start()
    book.ledger.dead(outgoing, "refused: no such subscriber")
    await book.until(unsettled=0, on_stream=0)
    (letter,) = await dead(book.store, [HERE])
    assert letter["raw"] == outgoing.body.decode()
    assert (letter["kind"], letter["reason"]) == ("reply", "refused: no such subscriber")
    assert letter["entry_id"] == outgoing.entry_id.decode()
    assert abs(letter["dead_ms"] - time.time() * 1000) < 60_000

    async def is_settled() -> bool:
        return book.settled == [outgoing.entry_id]

    await eventually(is_settled)


@pytest.mark.parametrize("kind", ["sent", "dead"])
async def test_a_store_that_is_away_gets_the_settlements_later(kind: str, book: Book) -> None:
    replies = await book.read(HERE, 25)
    book.wire.fails_before = 5
    for outgoing in replies:
        if kind == "sent":
            book.ledger.sent(outgoing)
        else:
            book.ledger.dead(outgoing, "lapsed: not sent in time")
    book.start()
    await book.until(unsettled=0, on_stream=0)
    assert len(await dead(book.store, [HERE])) == (25 if kind == "dead" else 0)
    assert sorted(book.settled) == sorted(outgoing.entry_id for outgoing in replies)


async def test_a_lost_answer_writes_a_dead_letter_once(book: Book) -> None:
    (outgoing,) = await book.read(HERE, 1)
    book.wire.fails_after = 1
    book.ledger.dead(outgoing, "lapsed: not sent in time")
    book.start()
    await book.until(unsettled=0)

    async def is_settled() -> bool:
        return book.settled == [outgoing.entry_id]

    await eventually(is_settled)  # only the repeat can tell us so
    assert len(await dead(book.store, [HERE])) == 1


async def test_a_dead_letter_that_the_store_refuses_stays_pending_and_holds_up_nobody_else(book: Book) -> None:
    (stuck,) = await book.read(HERE, 1)
    others = await book.read(THERE, 10)
    await book.store.execute_command("SET", HERE.dead, "not a stream")
    book.start()
    book.ledger.dead(stuck, "lapsed: not sent in time")
    for outgoing in others[:5]:
        book.ledger.dead(outgoing, "lapsed: not sent in time")
    for outgoing in others[5:]:
        book.ledger.sent(outgoing)
    await book.until(unsettled=1)
    await eventually(lambda: _many_calls(book))
    assert len(await dead(book.store, [THERE])) == 5  # written once, however often the other was tried
    assert await pending(book.store, [HERE]) == 1
    await book.store.execute_command("DEL", HERE.dead)
    await book.until(unsettled=0, on_stream=0)
    assert len(await dead(book.store, [HERE])) == 1


async def _many_calls(book: Book) -> bool:
    """Whether the ledger has tried again a few times."""
    stats: dict[str, Any] = (await book.store.execute_command("INFO", "errorstats"))["errorstat_WRONGTYPE"]
    return stats["count"] >= 3


async def test_while_the_store_is_full_settlements_and_dead_letters_are_written(book: Book) -> None:
    replies = await book.read(HERE, 10)
    used = (await book.store.execute_command("INFO", "memory"))["used_memory"]
    limit = (await book.store.execute_command("CONFIG GET", "maxmemory"))["maxmemory"]
    await book.store.execute_command("CONFIG SET", "maxmemory", used // 2)
    try:
        book.start()
        book.ledger.dead(replies[0], "lapsed: not sent in time")
        for outgoing in replies[1:]:
            book.ledger.sent(outgoing)
        await book.until(unsettled=0, on_stream=0)
    finally:
        await book.store.execute_command("CONFIG SET", "maxmemory", limit)
    assert len(await dead(book.store, [HERE])) == 1


async def test_a_partition_whose_stream_is_broken_holds_up_no_other(book: Book) -> None:
    (stuck,) = await book.read(HERE, 1)
    others = await book.read(THERE, 5)
    await book.store.execute_command("SET", HERE.replies, "not a stream")
    book.start()
    for outgoing in [stuck, *others]:
        book.ledger.sent(outgoing)

    async def is_written() -> bool:
        return await pending(book.store, [THERE]) == 0

    await eventually(is_written)
    assert sorted(book.settled) == sorted(outgoing.entry_id for outgoing in others)


async def test_the_last_settlements_are_written_and_trimmed_at_the_end(book: Book) -> None:
    sent = await book.read(HERE, 5)
    for outgoing in sent:
        book.ledger.sent(outgoing)
    await book.ledger.finish()
    assert await pending(book.store, BOTH) == 0
    assert await left(book.store, BOTH) == 0


@pytest.mark.parametrize("steps", range(8))
async def test_a_stop_that_meets_a_settlement_is_not_forgotten(steps: int, book: Book) -> None:
    (outgoing,) = await book.read(HERE, 1)
    running = asyncio.create_task(book.ledger.run())
    await asyncio.sleep(0)
    book.ledger.sent(outgoing)
    for _ in range(steps):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait({running}, timeout=1)
    ended = running.done()
    while not running.done():
        running.cancel()
        await asyncio.sleep(0)
    assert ended


async def test_an_end_with_the_store_away_raises_nothing(book: Book) -> None:
    (outgoing,) = await book.read(HERE, 1)
    book.ledger.sent(outgoing)
    book.wire.fails_before = 1
    await book.ledger.finish()
    assert await pending(book.store, BOTH) == 1


async def test_a_reader_silent_for_a_day_is_dropped_and_its_entries_go(book: Book) -> None:
    await calls.register(book.store, HERE, group="gone", now_ms=0)
    sent = await book.read(HERE, 5)
    long_ago_ms = time.time_ns() // 1_000_000 - SILENCE_MS - 60_000
    await book.store.execute_command("HSET", HERE.groups, "gone", f"0-1 {long_ago_ms}")
    book.start()
    for outgoing in sent:
        book.ledger.sent(outgoing)
    await book.until(unsettled=0, on_stream=0)
    assert set(await book.store.execute_command("HGETALL", HERE.groups)) == {b"dispatch"}


async def test_our_own_group_stays_registered_though_the_operator_was_away_for_a_day(book: Book) -> None:
    await calls.register(book.store, HERE, group="ahead", now_ms=time.time_ns() // 1_000_000)
    sent = await book.read(HERE, 5)
    command = ("XREADGROUP", "GROUP", "ahead", "one", "NOACK", "STREAMS", HERE.replies, ">")
    await book.store.execute_command(*command)
    long_ago_ms = time.time_ns() // 1_000_000 - SILENCE_MS - 60_000
    first = sent[0].entry_id.decode()
    await book.store.execute_command("HSET", HERE.groups, DISPATCH_GROUP, f"{first} {long_ago_ms}")
    book.start()
    book.ledger.sent(sent[4])

    async def is_written() -> bool:
        return await pending(book.store, [HERE]) == 4 and b"-" in await registered(book)

    await eventually(is_written)
    for outgoing in sent[1:4]:
        book.ledger.sent(outgoing)
    await book.until(unsettled=1)
    assert await left(book.store, BOTH) == 5  # the oldest is not sent yet, and nobody may trim it
    book.ledger.sent(sent[0])
    await book.until(unsettled=0, on_stream=0)
    assert set(await book.store.execute_command("HGETALL", HERE.groups)) == {b"dispatch", b"ahead"}


async def registered(book: Book) -> bytes:
    """Our group's field in the register."""
    return await book.store.execute_command("HGET", HERE.groups, DISPATCH_GROUP) or b""
