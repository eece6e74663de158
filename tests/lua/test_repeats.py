"""The same SMS again: no quota, no reply, no record; and what is not the same SMS."""

import pytest

from permits.calendar import DAY_MS
from tests.lua.batches import DECIDED_MS, MIDNIGHT_MS, NOON_MS, Ask, Partition, owner

SMS = Ask(id="agg-1", arrived_ms=MIDNIGHT_MS + 1_000)


async def test_second_delivery_of_the_same_sms_costs_no_quota_and_sends_no_reply(partition: Partition) -> None:
    assert await partition.decide(SMS) == "a"
    assert await partition.decide(SMS) == "D"
    assert len(await partition.replies()) == 1
    assert len(await partition.record(SMS)) == 1
    assert await partition.counts() == {"a2": 1, "D2": 1}
    assert [entry.letters for entry in await partition.audit()] == ["a", "D"]
    assert await partition.undecided() == 0


async def test_within_one_batch_too(partition: Partition) -> None:
    assert await partition.decide(SMS, SMS, SMS) == "aDD"
    assert len(await partition.replies()) == 1


async def test_a_repeat_of_a_refused_sms_is_not_refused_again(partition: Partition) -> None:
    assert await partition.decide(Ask(id="1", outcome="m"), Ask(id="1", outcome="m")) == "mD"
    assert await partition.decide(Ask(id="2"), Ask(id="3")) == "aq"
    assert await partition.decide(Ask(id="3"), Ask(id="3", arrived_ms=NOON_MS + DAY_MS)) == "DD"
    assert len(await partition.replies()) == 3


@pytest.mark.parametrize(("days", "letter"), [(1, "D"), (2, "D"), (3, "a")])
async def test_a_repeat_is_known_for_48_hours_across_midnight(partition: Partition, days: int, letter: str) -> None:
    await partition.decide(SMS)
    again = Ask(id="agg-1", arrived_ms=SMS.arrived_ms + days * DAY_MS)
    assert await partition.decide(again) == letter


async def test_a_repeat_that_was_stored_first_with_a_later_arrival_is_known(partition: Partition) -> None:
    await partition.decide(Ask(id="1", arrived_ms=MIDNIGHT_MS + 10))
    assert await partition.decide(Ask(id="1", arrived_ms=MIDNIGHT_MS - 10)) == "D"


async def test_an_id_with_other_text_is_another_sms_and_counted(partition: Partition) -> None:
    assert await partition.decide(Ask(id="1", text="1 AZE 1111111", purpose=1)) == "a"
    entries = await partition.push(Ask(id="1", text="2 AZE 1111111"), Ask(id="2"))
    reply = await partition.decided(partition.batch(entries))
    assert (reply.letters, reply.ids_reused) == ("aq", 1)
    assert await partition.counts() == {"a1": 1, "a2": 1, "q2": 1, "id_reused": 1}
    assert await partition.decide(Ask(id="1", text="1 AZE 1111111"), Ask(id="1", text="2 AZE 1111111")) == "DD"
    assert (await partition.counts())["id_reused"] == 1


async def test_the_same_id_on_another_document_is_another_sms(partition: Partition) -> None:
    assert await partition.decide(SMS, Ask(id="agg-1", owner=owner("AA7654321"))) == "aa"


@pytest.mark.parametrize(
    ("apart_s", "letter"), [(0, "D"), (119, "D"), (120, "D"), (121, "q"), (-120, "D"), (-121, "q"), (3_600, "q")]
)
async def test_a_text_without_an_id_is_the_same_sms_within_120_seconds(
    partition: Partition, apart_s: int, letter: str
) -> None:
    await partition.decide(Ask(id="", by_text=True))
    again = Ask(id="", by_text=True, arrived_ms=NOON_MS + apart_s * 1_000)
    assert await partition.decide(again, decided_ms=DECIDED_MS + 1) == letter


async def test_the_120_seconds_reach_across_midnight(partition: Partition) -> None:
    await partition.decide(Ask(id="", by_text=True, arrived_ms=MIDNIGHT_MS - 30_000))
    again = Ask(id="", by_text=True, arrived_ms=MIDNIGHT_MS + 30_000)
    later = Ask(id="", by_text=True, arrived_ms=MIDNIGHT_MS + 100_000)
    assert await partition.decide(again, later) == "Da"


async def test_an_id_that_reads_like_a_text_is_not_that_text(partition: Partition) -> None:
    by_text = Ask(id="", text="2 AZE 1111111", by_text=True)
    assert await partition.decide(by_text, Ask(id="2 AZE 1111111", text="2 AZE 1111111")) == "aq"
