"""Any stream of SMS, cut into batches anyhow, with calls repeated and out of date: the model decides the same."""

import struct
from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Final

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lua.calls import CANCEL, Applied, Batch, Decided, Fenced, Gap
from lua.records import ENTRY_BYTES
from lua.store import Store
from permits.calendar import DAY_MS, HOUR_MS, hour_end, hour_name
from permits.decision import Cancel, Model, Outcome, Request
from permits.outcomes import APPROVED, CANCELLED, CANCELLED_HELD, ENDED, HELD, WITHDRAWN
from permits.regimes import Limits, Rule
from tests.lua.batches import ARRIVED_SINCE_S, DECIDED_MS, ENDLESS_SINCE_S, MIDNIGHT_MS, Ask, Partition, owner

OWNERS: Final = [b"same-one", b"sameelse", owner("AZE1111111")]
RULES: Final[dict[int, list[tuple[Rule, ...]]]] = {
    1: [(), (Rule(limit=2, purposes=(1,)),), (Rule(limit=1, purposes=(1, 2, 3)),)],
    2: [
        (Rule(limit=1, purposes=(2,)),),
        (Rule(limit=1, purposes=(2,)), Rule(limit=1, purposes=(1,))),
        (Rule(limit=1, purposes=(1, 2, 3)),),
        (Rule(limit=3, purposes=(2, 3)), Rule(limit=2, purposes=(2,))),
    ],
    3: [()],
}
TAGS: Final = count()
"""A partition of its own for each example: no example sees another's keys, none needs the store emptied."""
WINDOW_S: Final = 200
PHONES: Final = ["+994500000001", "+994500000002", "+994500000003"]
LIMITS: Final = [
    Limits(),
    Limits(requests_per_document=3),
    Limits(senders_per_document=1, refusals_answered_per_hour=1),
    Limits(requests_per_document=5, senders_per_document=2, refusals_answered_per_hour=2),
]
LISTED: Final = (
    (OWNERS[0], 2, MIDNIGHT_MS // 1000 - 60, 0),
    (OWNERS[2], 1, MIDNIGHT_MS // 1000 - 50, MIDNIGHT_MS // 1000 + 50),
)
"""Owner, list, from and until, s."""


@st.composite
def asks(draw: st.DrawFn) -> Ask:
    """One SMS around one of two midnights, of few owners and few ids."""
    midnight_ms = MIDNIGHT_MS + draw(st.sampled_from([0, DAY_MS, 3 * DAY_MS]))
    arrived_ms = midnight_ms + 1000 * draw(st.integers(-WINDOW_S, WINDOW_S))
    received_ms = arrived_ms - draw(st.sampled_from([0, 0, 30_000, DAY_MS, 47 * 3_600_000, -100_000]))
    purpose = draw(st.sampled_from([1, 2, 2, 3]))
    outcome = draw(st.sampled_from(["?", "?", "?", "?", "m", "b", "M", "X", CANCEL, CANCEL]))
    return Ask(
        id=draw(st.sampled_from("12345")),
        text=draw(st.sampled_from(["2 AZE 1111111", "2AZE1111111"])),
        owner=draw(st.sampled_from(OWNERS)),
        purpose=draw(st.sampled_from([0, 0, purpose])) if outcome == CANCEL else purpose,
        minutes=0 if outcome == CANCEL else draw(st.sampled_from([0, 60, 180, 4095])),
        # A clock that is days ahead is past what a hold can tell; ingest lets none through.
        hold_minutes=draw(st.sampled_from([0, 0, 15])) if outcome == "?" and arrived_ms < DECIDED_MS else 0,
        arrived_ms=arrived_ms,
        asked_ms=received_ms,
        outcome=outcome,
        rules=draw(st.sampled_from(RULES[purpose])),
        by_text=draw(st.booleans()),
        phone=draw(st.sampled_from(PHONES)),
        limits=draw(st.sampled_from(LIMITS)),
        bars=draw(st.sampled_from([(), (), (1,), (3, 2)])),
    )


BATCHES: Final = st.lists(st.lists(asks(), min_size=1, max_size=12), min_size=1, max_size=6)


def is_listed(ask: Ask) -> bool:
    """Whether a list bars the document when the SMS arrives."""
    now_s = ask.arrived_ms // 1000
    return any(
        who == ask.owner and number in ask.bars and from_s <= now_s and (not until_s or now_s < until_s)
        for who, number, from_s, until_s in LISTED
    )


def decide_plainly(model: Model, ask: Ask, decided_ms: int) -> Outcome:
    """What the model says to one SMS; moved and dead ones are none of its business."""
    if ask.outcome in "MX":
        return Outcome(ask.outcome, answered=False)
    request = Request(
        owner=ask.owner.hex(),
        identity=ask.digest.hex(),
        purpose=ask.purpose,
        asked_ms=ask.arrived_ms if ask.asked_ms is None else ask.asked_ms,
        arrived_ms=ask.arrived_ms,
        refused=None if ask.outcome in ("?", CANCEL) else ask.outcome,
        rules=ask.rules,
        by_text=ask.by_text,
        sender=ask.phone,
        listed=is_listed(ask),
        limits=ask.limits,
        decided_ms=decided_ms,
        minutes=ask.minutes,
        hold_minutes=ask.hold_minutes,
        cancel=Cancel(ARRIVED_SINCE_S, ENDLESS_SINCE_S) if ask.outcome == CANCEL else None,
    )
    return model.decide(request)


async def agree(store: Store, batches: list[list[Ask]], number: Callable[[int], int], cap: int) -> None:
    """Decide batch by batch, with other calls in between, and compare letters, records, replies and counters."""
    partition = Partition(store, f"x{next(TAGS)}", record_bytes=ENTRY_BYTES * cap)
    model, done, expected = Model(cap), list[Batch](), list[tuple[Ask, Outcome]]()
    partition.today = max(ask.arrival_day for batch in batches for ask in batch)
    assert await partition.lease() == "1"
    for who, listed, from_s, until_s in LISTED:
        entry = struct.pack(">BII", listed, from_s, until_s)
        await store.execute_command("HSET", partition.keys.blocked, who, entry)
    decided_ms, numbers = DECIDED_MS, dict[tuple[str, bytes], bytes]()
    for batch in batches:
        decided_ms += HOUR_MS * number(2)  # six at the most: still on the same day
        entries = await partition.push(*batch)
        outcomes = [decide_plainly(model, ask, decided_ms) for ask in batch]
        wanted = "".join(outcome.letter for outcome in outcomes)
        built = partition.batch(entries, decided_ms=decided_ms)
        if done and number(2):
            assert await partition.call(done[number(len(done))]) == Applied()
        if number(2):
            assert await partition.call(built, epoch=str(1000 + number(9))) == Fenced(epoch=partition.epoch)
        if len(entries) > 1 and number(2):
            assert await partition.call(partition.batch(entries[1:])) == Gap()
        if not number(3):
            await store.execute_command("DEL", partition.keys.lease("decide"))
            await partition.lease()
        reply = await partition.call(partition.batch(entries, decided_ms=decided_ms))
        assert isinstance(reply, Decided)
        assert (reply.letters, reply.removed) == (wanted, len(batch))
        assert reply.unanswered == sum(map(is_silent, outcomes))
        done.append(built)
        expected += zip(batch, outcomes, strict=True)
        for ask, outcome in zip(batch, outcomes, strict=True):
            if outcome.letter == APPROVED and not ask.hold_minutes:
                numbers[hour_name(hour_end(ask.ends_s(decided_ms))), ask.sender_field] = ask.sealed
    assert await stored(partition, expected) == kept(expected)
    assert await numbered(partition) == numbers
    held = sum(outcome.letter == "a" and ask.hold_minutes > 0 for ask, outcome in expected)
    assert len(await partition.replies()) == sum(outcome.answered for _, outcome in expected) - held
    withdrawn = sum(outcome.letter == CANCELLED_HELD for _, outcome in expected)
    assert await store.execute_command("ZCARD", partition.keys.held) == held - withdrawn
    cancelled = [
        told.permit and (told.permit.digest, told.permit.arrived_s) for told in await partition.cancellations()
    ]
    about_cancelling = [o for ask, o in expected if ask.outcome == CANCEL and o.letter.islower()]
    assert cancelled == [outcome.cancelled for outcome in about_cancelling]
    unanswered = Counter({"unanswered": sum(is_silent(outcome) for _, outcome in expected)})
    assert await counted(partition) == +unanswered + Counter(f"{o.letter}{ask.purpose}" for ask, o in expected)
    trail = await partition.audit()
    assert "".join(entry.letters for entry in trail) == "".join(outcome.letter for _, outcome in expected)
    marks = "".join(entry.silent or "0" * len(entry.letters) for entry in trail)
    assert marks == "".join("1" if is_silent(outcome) else "0" for _, outcome in expected)


def is_silent(outcome: Outcome) -> bool:
    """Whether a decision goes unanswered."""
    return outcome.letter.islower() and not outcome.answered


_LEFT: Final = {CANCELLED: ENDED, CANCELLED_HELD: WITHDRAWN}
Row = tuple[bytes, bytes, int, int, str]


def kept(expected: list[tuple[Ask, Outcome]]) -> list[Row]:
    """The decisions that the model made: owner, identity, times, and the letter that its cancellations have left."""
    became = {(ask.owner, outcome.cancelled): _LEFT[outcome.letter] for ask, outcome in expected if outcome.cancelled}
    rows = list[Row]()
    for ask, outcome in expected:
        letter = HELD if outcome.letter == APPROVED and ask.hold_minutes else outcome.letter
        if letter in (APPROVED, HELD):
            letter = became.get((ask.owner, (ask.digest.hex(), ask.arrived_ms // 1000)), letter)
        if letter.islower():
            rows.append((ask.owner, ask.digest, ask.arrived_ms // 1000, ask.day, letter))
    return sorted(rows)


async def stored(partition: Partition, expected: list[tuple[Ask, Outcome]]) -> list[Row]:
    """The same of the day records."""
    rows = list[Row]()
    for who, day in {(ask.owner, ask.arrival_day): ask for ask, _ in expected}.items():
        rows += [
            (who[0], e.digest, e.arrived_s, day.arrival_day - e.days_to_arrival, e.letter)
            for e in await partition.record(day)
        ]
    return sorted(rows)


async def numbered(partition: Partition) -> dict[tuple[str, bytes], bytes]:
    """What is kept of the senders, by hour and field."""
    found: dict[tuple[str, bytes], bytes] = {}
    for key in await partition.store.execute_command("KEYS", partition.keys.senders("*").replace("{", "[{]")):
        hour = key.decode().rpartition(":")[2]
        kept_there = await partition.store.execute_command("HGETALL", key)
        found |= {(hour, field): sealed for field, sealed in kept_there.items()}
    return found


async def counted(partition: Partition) -> Counter[str]:
    found = await partition.counts(DECIDED_MS)
    found.pop("id_reused", None)
    return Counter(found)


def drawn(draw: st.DataObject) -> Callable[[int], int]:
    """Below a bound, by hypothesis."""
    return lambda below: draw.draw(st.integers(0, below - 1))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=BATCHES, data=st.data())
async def test_the_real_function_agrees_with_the_model(
    redis: Store, batches: list[list[Ask]], data: st.DataObject
) -> None:
    await agree(redis, batches, drawn(data), 250)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=BATCHES, data=st.data())
async def test_on_the_fake_server_too(fake: Store, batches: list[list[Ask]], data: st.DataObject) -> None:
    await agree(fake, batches, drawn(data), 250)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=BATCHES, data=st.data(), who=st.sampled_from(OWNERS))
async def test_full_records_agree_too(redis: Store, batches: list[list[Ask]], data: st.DataObject, who: bytes) -> None:
    """With one owner: two that share a field share its room, of which the model knows nothing."""
    alone = [[msgspec.structs.replace(ask, owner=who) for ask in batch] for batch in batches]
    await agree(redis, alone, drawn(data), 4)


@pytest.mark.parametrize("size", [1, 7, 512])
async def test_a_long_day_in_batches_of_any_size(redis: Store, size: int) -> None:
    """Two thousand SMS of three hundred owners, in order."""
    people = [owner(f"AZE{i:07d}") for i in range(300)]
    every = [
        Ask(
            id=str(i * i % 1500),
            owner=people[i * 7919 % 300],
            purpose=1 + i % 3,
            rules=RULES[1 + i % 3][i % len(RULES[1 + i % 3])],
            arrived_ms=MIDNIGHT_MS - 1_000_000 + i * 1000,
        )
        for i in range(2048)
    ]
    await agree(redis, [every[at : at + size] for at in range(0, len(every), size)], lambda _: 0, 250)
