"""Limits against abuse and status lists, in the deciding function: who is refused, who is told, who is left alone."""

import struct

import pytest

from permits.calendar import DAY_MS
from permits.regimes import Limits, Rule
from tests.lua.batches import NOON_MS, Ask, Partition, owner

PHONES = [f"+99450000000{n}" for n in range(9)]
SOME = Limits(requests_per_document=3, senders_per_document=2, refusals_answered_per_hour=2)
FREE: tuple[Rule, ...] = ()


def ask(sms_id: str, phone: str = PHONES[0], *, at_ms: int = NOON_MS, limits: Limits = SOME, outcome: str = "?") -> Ask:
    return Ask(id=sms_id, phone=phone, arrived_ms=at_ms, limits=limits, outcome=outcome, purpose=1, rules=FREE)


async def put_on_list(
    partition: Partition, number: int, from_s: int, until_s: int, who: bytes = Ask(id="").owner
) -> None:
    """Add an entry to a document's status lists."""
    stands: bytes | None = await partition.store.execute_command("HGET", partition.keys.blocked, who)
    value = (stands or b"") + struct.pack(">BII", number, from_s, until_s)
    await partition.store.execute_command("HSET", partition.keys.blocked, who, value)


async def test_a_document_gets_so_many_requests_a_day_and_no_more(partition: Partition) -> None:
    assert await partition.decide(*(ask(str(n)) for n in range(5))) == "aaadd"
    assert await partition.decide(ask("9", at_ms=NOON_MS + DAY_MS)) == "a"
    assert (await partition.replies())[3].endswith('"abuse_document 1111"}')


async def test_refusals_for_form_are_requests_too(partition: Partition) -> None:
    limits = Limits(requests_per_document=3)
    asks = [ask(str(n), limits=limits, outcome="u") for n in range(3)]
    assert await partition.decide(*asks, ask("9", limits=limits)) == "uuud"


async def test_so_many_phones_may_ask_for_one_document_and_they_go_on(partition: Partition) -> None:
    limits = Limits(senders_per_document=2)
    asks = [ask(str(n), phone, limits=limits) for n, phone in enumerate([*PHONES[:4], PHONES[1], PHONES[0]])]
    assert await partition.decide(*asks) == "aaddaa"


async def test_a_stranger_who_was_refused_does_not_become_known(partition: Partition) -> None:
    limits = Limits(senders_per_document=1)
    assert await partition.decide(ask("1", limits=limits), ask("2", PHONES[1], limits=limits)) == "ad"
    assert await partition.decide(ask("3", PHONES[1], limits=limits)) == "d"


@pytest.mark.parametrize("whole", [True, False])
async def test_after_so_many_refusals_within_the_hour_there_is_silence(partition: Partition, whole: bool) -> None:
    asks = [ask(str(n), outcome="m") for n in range(5)]
    if whole:
        assert await partition.decide(*asks) == "mmmmm"
    else:
        assert [await partition.decide(one) for one in asks] == ["m"] * 5
    assert len(await partition.replies()) == 2
    assert (await partition.counts())["unanswered"] == 3
    marks = "".join(entry.silent or "0" * len(entry.letters) for entry in await partition.audit())
    assert marks == "00111"
    assert len(await partition.record(asks[0])) == 5


async def test_an_hour_later_a_refusal_is_answered_again(partition: Partition) -> None:
    for n in range(3):
        await partition.decide(ask(str(n), outcome="m"))
    assert len(await partition.replies()) == 2
    await partition.decide(ask("3", outcome="m", at_ms=NOON_MS + 3_599_000))
    assert len(await partition.replies()) == 2
    await partition.decide(ask("4", outcome="m", at_ms=NOON_MS + 3_600_000))
    assert len(await partition.replies()) == 3


async def test_an_approval_is_always_answered(partition: Partition) -> None:
    limits = Limits(refusals_answered_per_hour=1)
    asks = [ask(str(n), limits=limits, outcome="m") for n in range(3)]
    assert await partition.decide(*asks, ask("9", limits=limits)) == "mmma"
    assert len(await partition.replies()) == 2


async def test_others_are_not_silenced(partition: Partition) -> None:
    other = Ask(id="9", owner=owner("AA7654321"), limits=SOME, outcome="m")
    await partition.decide(*(ask(str(n), outcome="m") for n in range(4)), other)
    assert len(await partition.replies()) == 3


async def test_a_document_on_a_list_gets_no_permit_under_what_the_list_bars(partition: Partition) -> None:
    await put_on_list(partition, 4, NOON_MS // 1000 - 60, 0)
    assert await partition.decide(Ask(id="1", bars=(3, 4)), Ask(id="2", bars=(3,)), Ask(id="3", bars=())) == "kaq"
    assert (await partition.replies())[0].endswith('"blocked 1111"}')
    assert await partition.decide(Ask(id="4", bars=(4,), owner=owner("AA7654321"))) == "a"


@pytest.mark.parametrize(
    ("from_s", "until_s", "letter"),
    [(0, None, "k"), (0, 1, "k"), (1, None, "a"), (-60, None, "k"), (-60, -1, "a"), (-60, 0, "a"), (-60, 1, "k")],
)
async def test_a_list_holds_from_its_beginning_until_before_its_end(
    partition: Partition, from_s: int, until_s: int | None, letter: str
) -> None:
    now_s = NOON_MS // 1000
    await put_on_list(partition, 1, now_s + from_s, 0 if until_s is None else now_s + until_s)
    assert await partition.decide(Ask(id="1", bars=(1,))) == letter


async def test_of_several_lists_any_that_bars_counts(partition: Partition) -> None:
    await put_on_list(partition, 1, 0, 1)
    await put_on_list(partition, 2, 0, 0)
    assert await partition.decide(Ask(id="1", bars=(1,)), Ask(id="2", bars=(1, 2))) == "ak"


async def test_strangers_refusals_do_not_silence_the_owners(partition: Partition) -> None:
    limits = Limits(senders_per_document=5, refusals_answered_per_hour=5)
    strangers = [ask(f"s{n}", PHONES[n], limits=limits, outcome="u") for n in range(5)]
    assert await partition.decide(*strangers) == "uuuuu"
    assert await partition.decide(ask("own", PHONES[8], limits=limits)) == "d"
    assert [one.endswith('"abuse_document 1111"}') for one in await partition.replies()] == [False] * 5 + [True]
