"""Phones that ask for many documents: counted over all workers, a little late, and never to the harm of the few."""

from collections import Counter
from collections.abc import AsyncGenerator

import pytest
from redis.exceptions import ConnectionError as StoreAwayError

from permits import policy as policies
from permits.calendar import DAY_MS, day_name, local_day
from processor.busy_phones import OFTEN, TOLD_EVERY_MS, BusyPhones
from runtime.connection import Client, Wire
from runtime.embedded import EmbeddedStore
from tests.integration.ingest_door import KEYS, ROUTE
from tests.integration.lanes import AT_HOME, HOME, Floor

LIMIT = 6
POLICY = policies.load()
TODAY = 44_000
"""In 2090: nothing expires while a test runs."""
PARTITION, PHONE = ROUTE.of_sender("+994501234567")
EIGHT_DIGITS = [n for n in range(10000000, 10003000) if ROUTE.of_document(f"AA{n}")[0] == HOME]
"""One too many for this series."""
DOCUMENTS = [ROUTE.of_document(f"AZE{n}")[1] for n in range(1000000, 1000100)]


@pytest.fixture
async def two(server: EmbeddedStore) -> AsyncGenerator[tuple[BusyPhones, BusyPhones]]:
    """What two workers know."""
    wires = Wire(server.url), Wire(server.url)
    yield BusyPhones(wires[0], KEYS), BusyPhones(wires[1], KEYS)
    for wire in wires:
        await wire.close()


def asks(phones: BusyPhones, *documents: bytes, day: int = TODAY) -> list[bool]:
    """Whether each document is one too many."""
    return [phones.is_busy(PHONE, PARTITION, document, day=day, limit=LIMIT) for document in documents]


async def test_one_worker_alone_stops_a_phone_a_few_documents_late(two: tuple[BusyPhones, BusyPhones]) -> None:
    busy = asks(two[0], *DOCUMENTS)
    assert busy.index(True) == OFTEN + LIMIT
    assert all(busy[OFTEN + LIMIT :])


async def test_a_family_goes_on_with_the_documents_it_has(two: tuple[BusyPhones, BusyPhones]) -> None:
    family = DOCUMENTS[:5] * 20
    assert not any(asks(two[0], *family))
    asks(two[0], *DOCUMENTS[5:])
    assert not any(asks(two[0], *family))
    assert asks(two[0], DOCUMENTS[99]) == [True]


async def test_a_family_goes_on_where_its_partitions_have_moved(two: tuple[BusyPhones, BusyPhones]) -> None:
    """What one worker let pass the next one knows, a restarted one too: all that the limit allows, and no more."""
    family = DOCUMENTS[:LIMIT]
    asks(two[0], *family, *family)
    await two[0].share()
    for _ in range(3):
        assert not any(asks(two[1], *family))
        await two[1].share()
    assert asks(two[1], DOCUMENTS[99]) == [True]


async def test_workers_count_together(two: tuple[BusyPhones, BusyPhones], redis: Client) -> None:
    one, other = two
    asks(one, *DOCUMENTS[: OFTEN + LIMIT])
    asks(other, *DOCUMENTS[50 : 50 + OFTEN + 1])
    assert asks(other, DOCUMENTS[60]) == [False]
    await one.share()
    await other.share()
    assert asks(other, DOCUMENTS[61]) == [True]
    name = KEYS[PARTITION].phone(PHONE, day_name(TODAY))
    assert await redis.execute_command("SCARD", name) == LIMIT + 2
    expires_ms = await redis.execute_command("PEXPIRETIME", name)
    assert TODAY + 1 <= local_day(expires_ms) <= TODAY + 2


async def test_whoever_writes_seldom_is_not_counted_at_all(two: tuple[BusyPhones, BusyPhones], redis: Client) -> None:
    asks(two[0], *DOCUMENTS[:OFTEN])
    await two[0].share()
    assert await redis.execute_command("DBSIZE") == 0


@pytest.mark.parametrize("shared", [slice(0, 4), slice(4, 8)])
async def test_a_phone_that_shares_one_cell_with_a_busy_one_is_not_taken_for_it(
    two: tuple[BusyPhones, BusyPhones], shared: slice
) -> None:
    asks(two[0], *DOCUMENTS[:OFTEN])
    other = bytearray(bytes(8))
    other[shared] = PHONE[shared]
    seen = [two[0].is_busy(bytes(other), PARTITION, one, day=TODAY, limit=1) for one in DOCUMENTS[: OFTEN + 1]]
    assert not any(seen)


async def test_a_new_day_begins_with_nobody(two: tuple[BusyPhones, BusyPhones]) -> None:
    asks(two[0], *DOCUMENTS)
    assert not any(asks(two[0], *DOCUMENTS[:OFTEN], day=TODAY + 1))
    assert asks(two[0], *DOCUMENTS, day=TODAY)[-1] is False
    assert asks(two[0], *DOCUMENTS[OFTEN:], day=TODAY + 1)[-1] is True


async def test_what_a_store_that_is_away_did_not_take_is_shared_later(
    server: EmbeddedStore, redis: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire(server.url)
    phones = BusyPhones(wire, KEYS)
    asks(phones, *DOCUMENTS[: OFTEN + 3])

    async def away(*_: object) -> list[object]:
        raise StoreAwayError("away")

    with monkeypatch.context() as patch:
        patch.setattr(wire, "call", away)
        with pytest.raises(StoreAwayError):
            await phones.share()
    await phones.share()
    assert await redis.execute_command("SCARD", KEYS[PARTITION].phone(PHONE, day_name(TODAY))) == 3
    await wire.close()


def test_a_busy_phone_is_told_once_an_hour_and_again_where_the_same_sms_is_prepared_again() -> None:
    phones = BusyPhones(Wire("redis://127.0.0.1:1"), [])
    asks(phones, *DOCUMENTS)
    now_ms = TODAY * DAY_MS
    assert phones.is_told(PHONE, b"1-0", now_ms)
    assert not phones.is_told(PHONE, b"2-0", now_ms + 1)
    assert phones.is_told(PHONE, b"1-0", now_ms + 2)
    assert not phones.is_told(PHONE, b"3-0", now_ms + TOLD_EVERY_MS - 1)
    assert phones.is_told(PHONE, b"4-0", now_ms + TOLD_EVERY_MS)


async def decided(floor: Floor) -> Counter[str]:
    """How often each outcome stands in the trail."""
    outcomes: Counter[str] = Counter()
    for (_, outcome), times in (await floor.outcomes()).items():
        outcomes[outcome] += times
    return outcomes


async def test_ninety_sms_of_one_phone_cost_few_replies(server: EmbeddedStore, redis: Client) -> None:
    floor = await Floor(redis, server.url).open()
    await floor.push([f"1 {document}" for document in AT_HOME[:90]])
    async with floor.deciding(policy=lambda: POLICY):
        await floor.settled()
    limit = POLICY.at(0).limits.documents_per_sender
    assert limit is not None
    assert await decided(floor) == {"approved": OFTEN + limit, "abuse_sender": 90 - OFTEN - limit}
    replies = await floor.replies()
    assert Counter(reply.reason for reply in replies) == {None: OFTEN + limit, "abuse_sender": 1}


async def test_ninety_texts_that_nobody_can_read_cost_few_replies_too(server: EmbeddedStore, redis: Client) -> None:
    floor = await Floor(redis, server.url).open()
    await floor.push([f"salam {'a' * n}" for n in range(90)])
    async with floor.deciding(policy=lambda: POLICY):
        await floor.settled()
    limit = POLICY.at(0).limits.refusals_answered_per_hour
    assert await decided(floor) == {"malformed": 90}
    assert len(await floor.replies()) == limit


@pytest.mark.parametrize(("text", "reason"), [("9 {}", "unknown_code"), ("1 AA{}", "bad_document")])
async def test_ninety_documents_in_texts_of_a_wrong_form_cost_few_replies_too(
    server: EmbeddedStore, redis: Client, text: str, reason: str
) -> None:
    floor = await Floor(redis, server.url).open()
    documents = AT_HOME if reason == "unknown_code" else EIGHT_DIGITS
    await floor.push([text.format(document) for document in documents[:90]])
    async with floor.deciding(policy=lambda: POLICY):
        await floor.settled()
    limit = POLICY.at(0).limits.documents_per_sender
    assert limit is not None
    assert await decided(floor) == {reason: OFTEN + limit, "abuse_sender": 90 - OFTEN - limit}
    assert len(await floor.replies()) == OFTEN + limit + 1


async def test_a_family_s_mistakes_cost_it_no_document(two: tuple[BusyPhones, BusyPhones]) -> None:
    wrong = [two[0].is_busy(PHONE, PARTITION, one, day=TODAY, limit=LIMIT, refused=True) for one in DOCUMENTS[50:]]
    assert wrong.index(True) == OFTEN + LIMIT
    assert not any(asks(two[0], *DOCUMENTS[:LIMIT]))
