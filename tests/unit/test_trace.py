"""A trace becomes batches: their size, their due times, and what is said about a broken line."""

import pytest

from bench.trace import TraceError, batches


def lines(*seconds: float) -> list[bytes]:
    return [b'{"id":"%d","received_at":"2026-01-01T08:00:%06.3fZ"}\n' % pair for pair in enumerate(seconds)]


def test_the_traces_clock_gives_due_times_and_keeps_far_messages_apart() -> None:
    paced = list(batches(lines(1, 1.5, 1.9, 11, 21.4), size=100, speed=10.0))
    assert [batch.ids for batch in paced] == [("0", "1", "2"), ("3",), ("4",)]
    assert [batch.due_s for batch in paced] == pytest.approx([0.09, 1.0, 2.04])


def test_a_rate_gives_due_times() -> None:
    paced = list(batches(lines(*range(5)), size=2, rate=100.0))
    assert [batch.ids for batch in paced] == [("0", "1"), ("2", "3"), ("4",)]
    assert [batch.due_s for batch in paced] == pytest.approx([0.01, 0.03, 0.04])


def test_an_unpaced_trace_fills_its_batches() -> None:
    assert [len(batch.ids) for batch in batches(lines(*range(25)), size=10)] == [10, 10, 5]


@pytest.mark.parametrize(
    ("line", "speed", "problem"),
    [
        (b"{not json}\n", None, "line 2: "),
        (b'{"text": "2 AZE 1111111"}\n', None, "line 2 has no id"),
        (b'{"id": "a", "text": "\xff"}\n', None, "line 2: "),
        (b'{"id": "a"}\n', 1.0, "line 2 has no usable received_at"),
        (b'{"id": "a", "received_at": "2026-01-01T08:00:00"}\n', 1.0, "line 2 has no usable received_at"),
    ],
)
def test_a_broken_line_is_named(line: bytes, speed: float | None, problem: str) -> None:
    with pytest.raises(TraceError, match=problem):
        list(batches([*lines(0), line], size=10, speed=speed))


def test_what_stands_before_a_broken_line_is_still_given() -> None:
    work = batches([*lines(0, 0), b"nonsense\n", *lines(0)], size=10)
    assert next(work).ids == ("0", "1")
    with pytest.raises(TraceError):
        next(work)
