"""Approvals held back by a regime, on the real server: decided at once, told by a worker when their time has come."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime

import pytest

from permits import policy as policies
from permits.calendar import day_name, local_day
from permits.messages import HELD_DECODER, SETTLED_DECODER, AuditSettled
from permits.policy import Policy
from processor.approvals import Wordings
from processor.held_replies import HeldReplies
from runtime.connection import Client, Wire
from runtime.embedded import EmbeddedStore
from runtime.keyring import Keyring, SenderSeal
from runtime.leases import Lease
from runtime.policies import Policies, UnreadPoliciesError
from runtime.telemetry import REGISTRY
from tests.eventually import eventually
from tests.integration.ingest_door import KEYS, ROUTE
from tests.integration.lanes import AT_HOME, HOME, ONE_PHONE, PHONE, SEAL, Floor, payload

HERE = KEYS[HOME]
MINUTE_MS = 60_000


def rules(hold: str, text: bytes = ONE_PHONE) -> Policy:
    held = text.replace(b"late_minutes = 60", b"late_minutes = 60\nhold_minutes = { %b }" % hold.encode())
    return policies.parse(held, policies.DEFAULT_FILE)


HELD = rules("sms = 15, app = 5")


class Office:
    """A partition whose approvals are held, and the worker that tells them, at a clock that the test sets."""

    def __init__(self, floor: Floor, lease: Lease, wire: Wire, seal: SenderSeal) -> None:
        self.floor = floor
        self.leases = [lease]
        self.ahead_ms = 0
        self.loop = HeldReplies(
            wire,
            leases=lambda: self.leases,
            policy=lambda: HELD,
            wordings=Wordings("plain"),
            seal=seal,
            wall_ms=self.now_ms,
        )

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms

    async def decide(self, *texts: str, policy: Policy = HELD, **other: object) -> None:
        for number, text in enumerate(texts):
            await self.floor.put(payload(text, f"sms-{number}", **other))
        async with self.floor.deciding(policy=lambda: policy):
            await self.floor.settled()

    async def waiting(self) -> int:
        return await self.floor.client.execute_command("ZCARD", HERE.held)

    async def settled(self) -> list[AuditSettled]:
        found = await self.floor.client.execute_command("XRANGE", HERE.audit, "-", "+")
        return [SETTLED_DECODER.decode(fields[b"r"]) for _, fields in found if b"r" in fields]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("processor.lane.BLOCK_MS", 50)


@asynccontextmanager
async def opened(redis: Client, server: EmbeddedStore, seal: SenderSeal = SEAL) -> AsyncGenerator[Office]:
    floor = await Floor(redis, server.url).open()
    lease = await floor.lease()
    wire = Wire(server.url)
    yield Office(floor, lease, wire, seal)
    await wire.close()


@pytest.fixture
async def office(redis: Client, server: EmbeddedStore) -> AsyncGenerator[Office]:
    async with opened(redis, server) as found:
        yield found


async def test_an_approval_is_told_when_its_hold_is_over_and_holds_from_then_on(office: Office) -> None:
    await office.decide("2 AZE 1111111", "salam", trace="00-aa-bb-01")
    [refusal] = await office.floor.replies()
    assert (refusal.verdict, await office.waiting()) == ("refused", 1)
    office.ahead_ms = 15 * MINUTE_MS - 5_000
    assert not await office.loop.tell()
    assert await office.waiting() == 1
    office.ahead_ms = 15 * MINUTE_MS + 500
    before_ms = office.now_ms()
    assert not await office.loop.tell()
    [reply] = [reply for reply in await office.floor.replies() if reply.verdict == "approved"]
    assert reply.valid_from is not None
    assert reply.valid_until is not None
    begins = datetime.fromisoformat(reply.valid_from)
    assert 0 <= begins.timestamp() * 1000 - before_ms < 5_000
    assert (datetime.fromisoformat(reply.valid_until) - begins).total_seconds() == 3 * 3600
    assert (reply.to, reply.in_reply_to, reply.document_tail, reply.purpose) == (PHONE, "sms-0", "1111", 2)
    assert (reply.trace, reply.expires_at) == ("00-aa-bb-01", reply.valid_until)
    assert reply.id.startswith(f"{HERE.tag}-")
    assert reply.permit is not None
    assert reply.permit in reply.text
    assert await office.waiting() == 0


async def test_an_app_waits_less_than_a_phone(office: Office) -> None:
    await office.decide("2 AZE 1111111", channel="app")
    office.ahead_ms = 5 * MINUTE_MS + 500
    await office.loop.tell()
    assert await office.waiting() == 0
    assert len(await office.floor.replies()) == 1


async def test_a_channel_that_the_regime_leaves_out_waits_for_nothing(office: Office) -> None:
    await office.decide("2 AZE 1111111", policy=rules("app = 5"))
    assert (await office.waiting(), len(await office.floor.replies())) == (0, 1)


async def test_a_permit_without_end_is_held_too(office: Office) -> None:
    await office.decide("3 AZE 1111111")
    office.ahead_ms = 16 * MINUTE_MS
    await office.loop.tell()
    [reply] = await office.floor.replies()
    assert (reply.verdict, reply.valid_until) == ("approved", None)


async def test_thousands_are_told_page_by_page_each_once_whoever_tells(office: Office) -> None:
    texts = [f"2 {document}" for document in AT_HOME[:1100]]
    await office.decide(*texts)
    assert await office.waiting() == 1100
    office.ahead_ms = 16 * MINUTE_MS
    pages = 0
    while await office.loop.tell():
        pages += 1
    assert pages == 5
    replies = await office.floor.replies()
    assert {reply.in_reply_to for reply in replies} == {f"sms-{n}" for n in range(1100)}
    assert len(replies) == 1100
    assert sum(len(settled.rows) for settled in await office.settled()) == 1100


async def test_the_loop_goes_on_after_a_store_that_was_away_and_after_a_flush(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("processor.held_replies.LOOK_S", 0.01)
    await office.decide("2 AZE 1111111")
    office.ahead_ms = 16 * MINUTE_MS
    await office.floor.client.execute_command("FUNCTION", "FLUSH")
    await office.floor.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    running = asyncio.create_task(office.loop.run())

    async def told() -> bool:
        return len(await office.floor.replies()) == 1

    await eventually(told)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_without_a_sure_lease_nothing_is_told(redis: Client, server: EmbeddedStore) -> None:
    async with opened(redis, server) as office:
        await office.decide("2 AZE 1111111")
        office.ahead_ms = 16 * MINUTE_MS
        office.leases[0].until_mono_s = time.monotonic() - 1
        await office.loop.tell()
        assert await office.waiting() == 1


async def test_while_the_rules_cannot_be_read_approvals_wait_and_none_is_lost(
    redis: Client, server: EmbeddedStore
) -> None:
    """Of a version that this worker has not read may be their purpose, and how long the permit runs."""
    wire = Wire(server.url)
    read = Policies(wire.execute_command, key=KEYS[0].policies, file=HELD)
    async with opened(redis, server) as office:
        await office.decide("2 AZE 1111111")
        office.ahead_ms = 16 * MINUTE_MS
        loop = HeldReplies(
            wire,
            leases=lambda: office.leases,
            policy=read.current,
            wordings=Wordings("plain"),
            seal=SEAL,
            wall_ms=office.now_ms,
        )
        with pytest.raises(UnreadPoliciesError):
            await loop.tell()
        assert (await office.waiting(), await office.floor.dead()) == (1, [])
        await read.refresh()
        await loop.tell()
        assert (await office.waiting(), len(await office.floor.replies())) == (0, 1)
    await wire.close()


def buried() -> float:
    return REGISTRY.get_sample_value("icaze_held_dead_total") or 0.0


async def test_what_cannot_be_told_is_a_dead_letter_and_its_neighbours_are_told(
    redis: Client, server: EmbeddedStore
) -> None:
    lost = SenderSeal(Keyring({"k2": b"z" * 32}, "k2"))
    async with opened(redis, server, lost) as office:
        before = buried()
        await office.decide("2 AZE 1111111")
        office.ahead_ms = 16 * MINUTE_MS
        await redis.execute_command("ZADD", HERE.held, 1, b"no approval" + b"." * 16)
        broken = b'["1-0","x",2,"1111","no hex","no hex",1,1]' + b"." * 16
        await redis.execute_command("ZADD", HERE.held, 2, broken)
        await office.loop.tell()
        reasons = sorted(letter.reason for letter in await office.floor.dead())
        assert len(reasons) == 3
        assert reasons[0].startswith("non-hexadecimal number")
        assert reasons[1].startswith("not an approval")
        assert reasons[2] == "the key that seals its number is missing"
        assert {letter.kind for letter in await office.floor.dead()} == {"held"}
        [sealed] = [letter for letter in await office.floor.dead() if letter.reason == reasons[2]]
        waiting, _, seal = sealed.raw.rpartition(" ")
        assert HELD_DECODER.decode(waiting).in_reply_to == "sms-0"
        owner, digest = ROUTE.of_document("AZE1111111")[1], bytes.fromhex(HELD_DECODER.decode(waiting).digest)
        assert SEAL.open(bytes.fromhex(seal), owner, digest) == (PHONE, "az")
        assert (buried() - before, await office.waiting()) == (3, 0)


async def test_one_partitions_fault_keeps_no_other_waiting(redis: Client, server: EmbeddedStore) -> None:
    async with opened(redis, server) as office:
        await office.decide("2 AZE 1111111")
        office.ahead_ms = 16 * MINUTE_MS
        await redis.execute_command("SET", KEYS[(HOME + 1) % len(KEYS)].held, "a string")
        other = await office.floor.lease((HOME + 1) % len(KEYS))
        office.leases.insert(0, other)
        await office.loop.tell()
        assert len(await office.floor.replies()) == 1


async def test_an_approval_without_its_day_record_is_a_dead_letter(office: Office) -> None:
    await office.decide("2 AZE 1111111", f"2 {AT_HOME[5]}")
    field = ROUTE.of_document("AZE1111111")[1][:4]
    await office.floor.client.execute_command("HDEL", HERE.day(day_name(local_day(office.now_ms()))), field)
    office.ahead_ms = 16 * MINUTE_MS
    await office.loop.tell()
    [letter] = await office.floor.dead()
    assert letter.reason == "its day record does not hold it any more"
    assert [reply.in_reply_to for reply in await office.floor.replies()] == ["sms-1"]
