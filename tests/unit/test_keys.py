"""Key names, and tags whose slots fall evenly over the shards of a Cluster."""

from collections import Counter

import pytest

from lua.keys import SLOTS, members, partition_keys, slot, tags


@pytest.mark.parametrize(
    ("tag", "expected"), [("123456789", 0x31C3), ("", 0), ("foo", 12182), ("bar", 5061), ("hello", 866)]
)
def test_the_slot_function_agrees_with_known_vectors(tag: str, expected: int) -> None:
    assert slot(tag) == expected


@pytest.mark.parametrize("partitions", [1, 2, 16, 64, 128, 1024])
@pytest.mark.parametrize("shards", [1, 3, 4, 6])
def test_partitions_fall_evenly_over_contiguous_shards(partitions: int, shards: int) -> None:
    # As redis-cli --cluster create cuts the slots: rounded multiples of the exact share.
    ends = [round(SLOTS * (shard + 1) / shards) for shard in range(shards)]
    share = Counter(next(i for i, end in enumerate(ends) if slot(tag) < end) for tag in tags(partitions))
    assert max(share[i] for i in range(shards)) - min(share[i] for i in range(shards)) <= 1


@pytest.mark.parametrize("partitions", [1, 2, 3, 64, 100, 1024])
def test_tags_are_distinct_short_and_in_order_of_their_slots(partitions: int) -> None:
    found = tags(partitions)
    slots = [slot(tag) for tag in found]
    assert len(set(found)) == partitions
    assert slots == sorted(slots)
    assert max(map(len, found)) <= 7
    assert all(tag.isascii() and tag.isalnum() for tag in found)


def test_tags_are_frozen() -> None:
    assert tags(64)[:4] == ("00th", "01iq", "02ov", "03br")
    assert tags(1)[0] == tags(1)[0]


def test_every_key_of_a_partition_carries_its_tag() -> None:
    keys = partition_keys("00th")
    names = [keys.inbound, keys.replies, keys.audit, keys.dead, keys.groups, keys.day("20260101")]
    names += [keys.counts("20260101"), keys.lease("decide"), keys.fence("dispatch")]
    names += [keys.ends, keys.organisations, keys.applications, keys.outbox, keys.feed, keys.acts, keys.imports]
    names += [keys.senders("2026010100"), keys.holder(b"same"), keys.org("1234567890"), keys.person(bytes(8))]
    names += [keys.bulk("0" * 32), keys.archive, keys.policies, keys.held, keys.day_keys, keys.mark]
    names += [keys.spools]
    assert all(name.split("{")[1].split("}")[0] == "00th" for name in names)
    assert len(set(names)) == len(names)


def test_roles_have_leases_fences_and_members_of_their_own() -> None:
    keys = partition_keys("00th")
    assert keys.lease("decide") != keys.lease("dispatch")
    assert keys.fence("decide") != keys.fence("dispatch")
    assert members("decide") != members("dispatch")
