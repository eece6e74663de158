"""Where a worker is in a partition's applications: nobody is passed over for good, and nobody is in the way."""

from lua.keys import partition_keys
from processor.application_queue import MOST_PUT_OFF, WAIT_S, ApplicationQueue, Waiting

Page = list[tuple[bytes, list[bytes]]]


def queue() -> ApplicationQueue:
    return ApplicationQueue(0, partition_keys("0"))


def page(*numbers: int) -> Page:
    return [(b"%d-0" % number, [b"m", b"raw %d" % number]) for number in numbers]


def ids(taken: list[Waiting]) -> list[bytes]:
    return [one.entry_id for one in taken]


def test_each_read_begins_behind_the_last_one() -> None:
    seen = queue()
    assert seen.start(0) == b"-"
    assert ids(seen.take(page(1, 2), 9, 0)) == [b"1-0", b"2-0"]
    assert seen.start(0) == b"(2-0"


def test_what_there_is_no_room_for_is_read_again() -> None:
    seen = queue()
    assert [one.raw for one in seen.take(page(1, 2, 3), 2, 0)] == [b"raw 1", b"raw 2"]
    assert seen.start(0) == b"(2-0"
    assert seen.take(page(3), 0, 0) == []
    assert seen.start(0) == b"(2-0"


def test_an_entry_without_its_field_is_still_taken() -> None:
    assert [one.raw for one in queue().take([(b"1-0", [b"x", b"y"])], 9, 0)] == [b""]


def test_what_is_put_off_waits_and_comes_again() -> None:
    seen = queue()
    seen.take(page(1, 2), 9, 0)
    seen.put_off(b"1-0", 0)
    assert seen.start(0) == b"(2-0"
    assert seen.start(WAIT_S[0]) == b"-"
    assert ids(seen.take(page(1), 9, WAIT_S[0])) == [b"1-0"]


def test_what_is_put_off_is_not_taken_early_and_not_forgotten() -> None:
    seen = queue()
    seen.take(page(1), 9, 0)
    seen.put_off(b"1-0", 0)
    seen.look_again()
    assert seen.start(0) == b"-"
    assert ids(seen.take(page(1, 2), 9, 0)) == [b"2-0"]
    assert seen.start(0) == b"(2-0"
    assert seen.start(WAIT_S[0]) == b"-"


def test_each_wait_is_longer_up_to_a_minute() -> None:
    seen, now_s, waits = queue(), 0.0, list[float]()
    seen.take(page(1), 9, now_s)
    for _ in range(20):
        seen.put_off(b"1-0", now_s)
        due_s = next(s for s in range(100) if seen.start(now_s + s) == b"-")
        waits.append(due_s)
        now_s += due_s
        assert ids(seen.take(page(1), 9, now_s)) == [b"1-0"]
    assert waits[0] <= WAIT_S[0]
    assert waits[0] < max(waits) <= WAIT_S[1]
    assert min(waits[5:]) >= WAIT_S[1] / 2


def test_what_is_settled_is_forgotten() -> None:
    seen = queue()
    for _ in range(8):
        seen.put_off(b"1-0", 0)
    seen.settled(b"1-0")
    assert ids(seen.take(page(1), 9, 0)) == [b"1-0"]


def test_what_is_remembered_is_bounded() -> None:
    seen = queue()
    for number in range(MOST_PUT_OFF + 1):
        seen.put_off(b"%d-0" % number, 0)
    assert ids(seen.take(page(1, MOST_PUT_OFF), 9, 0)) == [b"1-0"]
