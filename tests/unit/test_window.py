"""The place in an outbox: one event an owner under way, in order, and none forgotten."""

import random

from hypothesis import given
from hypothesis import strategies as st

from dispatch.outbox.window import Window


def ids(count: int) -> list[bytes]:
    return [b"%d-%d" % (1000 + number // 3, number % 3) for number in range(count)]


def test_a_later_event_of_an_owner_waits_for_the_earlier_one() -> None:
    window = Window()
    first, second, other = ids(3)
    assert window.offer(first, "a")
    assert not window.offer(second, "a")
    assert window.offer(other, "b")
    assert window.start == b"(1000-2"
    window.settled("a")
    assert window.start == b"(1000-0"
    assert window.offer(second, "a")


def test_an_event_that_is_read_again_while_under_way_does_not_go_twice() -> None:
    window = Window()
    (first,) = ids(1)
    assert window.offer(first, "a")
    assert not window.offer(first, "a")
    window.left("a")
    assert window.offer(first, "a")


def test_going_back_before_the_first_entry_of_a_millisecond_reads_that_entry() -> None:
    window = Window()
    assert window.offer(b"1000-0", "a")
    window.left("a")
    assert window.start == b"(999-18446744073709551615"


@given(st.lists(st.sampled_from("abcd"), max_size=40), st.integers(0, 1 << 32))
def test_every_event_goes_once_and_in_its_owners_order(owners: list[str], seed: int) -> None:
    dice = random.Random(seed)
    window = Window()
    stream = dict(zip(ids(len(owners)), owners, strict=True))
    gone: list[bytes] = []
    under_way: dict[str, bytes] = {}
    while stream:
        for entry_id, owner in stream.items():
            if _position(entry_id) > _position(window.start[1:]) and window.offer(entry_id, owner):
                assert owner not in under_way
                under_way[owner] = entry_id
        owner = dice.choice(sorted(under_way))
        if dice.random() < 0.25:
            window.left(owner)
            del under_way[owner]
        else:
            entry_id = under_way.pop(owner)
            del stream[entry_id]
            gone.append(entry_id)
            window.settled(owner)
    names = dict(zip(ids(len(owners)), owners, strict=True))
    for owner in set(owners):
        assert [one for one in gone if names[one] == owner] == [one for one in names if names[one] == owner]


def _position(entry_id: bytes) -> tuple[int, ...]:
    return tuple(map(int, entry_id.split(b"-")))
