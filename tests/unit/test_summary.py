"""What `up` shows: figures of all partitions in a line and on a screen, and replies without whole phone numbers."""

import pytest
from redis.exceptions import ResponseError
from rich.console import Console

from lua.keys import partition_keys
from permits.outcomes import APPROVED, REASON_OF
from runtime import summary
from runtime.summary import Summary, masked
from tests.unit.looks import Planned, partition

NOW_S = 1_800_000_000.0
PARTITIONS = [partition_keys("0a"), partition_keys("1b")]
QUOTA = next(letter for letter, reason in REASON_OF.items() if reason == "quota")
MALFORMED = next(letter for letter, reason in REASON_OF.items() if reason == "malformed")
REPLY = (
    b'{"id":"0a-1-0","to":"+994501234567","in_reply_to":"agg-1","lang":"az","purpose":2,"document_tail":"1111",'
    b'"verdict":"%s","reason":%s,"permit":null,"valid_from":null,"valid_until":null,'
    b'"expires_at":"2027-01-15T12:00:00.000Z","text":"the words"}'
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The wall clock, which the test sets."""
    now = [NOW_S]
    monkeypatch.setattr(summary.time, "time_ns", lambda: int(now[0] * 1000) * 1_000_000)
    return now


def drawn(shown: Summary) -> str:
    """The screen as text."""
    console = Console(width=100, height=60, record=True, file=None, quiet=False)
    with console.capture() as screen:
        console.print(shown.screen())
    return screen.get()


async def test_figures_of_all_partitions_are_added_up_in_one_line(clock: list[float]) -> None:
    look = [
        *partition({f"{APPROVED}2": 5, f"{QUOTA}2": 2}, undecided=3, heads_s=(None, NOW_S - 4, None, None)),
        *partition(
            {f"{APPROVED}1": 1, f"{MALFORMED}0": 4, "c2": 2, "y0": 1}, unsent=2, heads_s=(NOW_S - 9.5, None, None, None)
        ),
    ]
    shown = Summary(Planned(look), PARTITIONS, [])
    assert shown.line() == "no figures yet"
    figures = await shown.look()
    assert (figures.decided, figures.approved) == (15, 6)
    assert shown.line() == (
        "decided 15 today (0/s), approved 6, refused 6 (malformed 4, quota 2), cancelled 3, undecided 3, unsent 2, "
        "held 0, oldest 9.5 s"
    )


async def test_the_rate_is_what_was_decided_between_two_looks(clock: list[float]) -> None:
    looks = [[*partition({f"{APPROVED}2": times}), *partition()] for times in (100, 150)]
    shown = Summary(Planned(*looks), PARTITIONS, [])
    await shown.look()
    clock[0] += 2
    await shown.look()
    assert shown.rate == 25


async def test_a_new_day_and_a_clock_that_stands_still_show_no_wild_rate(clock: list[float]) -> None:
    looks = [[*partition({f"{APPROVED}2": times}), *partition()] for times in (100, 1, 50)]
    shown = Summary(Planned(*looks), PARTITIONS, [])
    await shown.look()
    clock[0] += 1
    await shown.look()
    assert shown.rate == 0
    await shown.look()
    assert shown.rate == 0


async def test_an_error_of_the_store_is_raised_and_leaves_the_last_figures(clock: list[float]) -> None:
    good = [*partition({f"{APPROVED}2": 5}), *partition()]
    shown = Summary(Planned(good, [ResponseError("LOADING"), *good[1:]]), PARTITIONS, [])
    await shown.look()
    with pytest.raises(ResponseError):
        await shown.look()
    assert shown.line().startswith("decided 5 today")


async def test_the_screen_shows_doors_figures_reasons_and_the_last_replies(clock: list[float]) -> None:
    shown = Summary(Planned([*partition({f"{QUOTA}2": 1234}), *partition()]), PARTITIONS, [("ingest", "http://here")])
    assert "none yet" in drawn(shown)
    await shown.look()
    for number in range(summary.LAST_REPLIES + 1):
        shown.reply(b"notice %d" % number)
    text = drawn(shown)
    for part in ("ingest", "http://here", "1,234", "quota", "Ctrl-C stops", "notice 6"):
        assert part in text
    assert "notice 0" not in text


def test_a_reply_is_shown_with_its_verdict_and_without_the_phone_number() -> None:
    shown = Summary(Planned(), PARTITIONS, [])
    assert shown.reply(REPLY % (b"approved", b"null")) == "+99450***67  approved  the words"
    assert shown.reply(REPLY % (b"refused", b'"quota"')) == "+99450***67  refused quota  the words"


@pytest.mark.parametrize(
    ("phone", "shown"), [("+994501234567", "+99450***67"), ("+4412345", "***"), ("8103", "***"), ("", "***")]
)
def test_a_phone_number_is_masked(phone: str, shown: str) -> None:
    assert masked(phone) == shown
