"""Budgets of clients, documents of persons, and what is left to learn once a limit is reached: nothing."""

import logging

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import limits as limits_module
from api.limits import HOUR_S, Bounds, Limits
from runtime.telemetry import REGISTRY

AMPLE = Bounds(client_rate=1e9, client_burst=1e9)


def owner(number: int) -> bytes:
    return number.to_bytes(8, "big")


def tell(limits: Limits, client: str, subject: str | None, number: int, *, found: bool, now_s: float = 0.0) -> bool:
    """One question from its admission to its answer: whether it is answered."""
    if limits.admit(client, subject, now_s) is not None:
        return False
    return limits.answered(client, subject, owner(number), found=found, now_s=now_s) is None


def alarms(client: str) -> float:
    return REGISTRY.get_sample_value("icaze_guessing_alarms_total", {"client": client}) or 0.0


# Budgets


def test_a_client_may_ask_a_burst_and_then_its_rate() -> None:
    limits = Limits(Bounds(client_rate=10, client_burst=20))
    assert [limits.admit("mygov", None, 100.0) for _ in range(20)] == [None] * 20
    wait_s = limits.admit("mygov", None, 100.0)
    assert wait_s == pytest.approx(0.1)
    assert limits.admit("police", None, 100.0) is None
    assert [limits.admit("mygov", None, 100.35) is None for _ in range(4)] == [True, True, True, False]
    assert [limits.admit("mygov", None, 1000.0) is None for _ in range(21)] == [True] * 20 + [False]


def test_the_default_budget_is_2000_a_second_after_4000() -> None:
    limits = Limits()
    assert sum(limits.admit("mygov", None, 0.0) is None for _ in range(5000)) == 4000
    assert sum(limits.admit("mygov", None, 1.0) is None for _ in range(5000)) == 2000


def test_a_person_may_ask_60_questions_in_a_minute() -> None:
    limits = Limits(AMPLE)
    assert [limits.admit("mygov", "anna", 5.0) for _ in range(60)] == [None] * 60
    assert limits.admit("mygov", "anna", 15.0) == 50.0
    assert limits.admit("mygov", "elnur", 15.0) is None
    assert limits.admit("portal", "anna", 15.0) is None
    assert limits.admit("mygov", "anna", 65.0) is None


def test_names_of_client_and_person_do_not_run_into_each_other() -> None:
    limits = Limits(Bounds(subject_questions=1))
    assert limits.admit("my", "govanna", 0.0) is None
    assert limits.admit("mygov", "anna", 0.0) is None


# Documents


def test_ten_documents_an_hour_are_answered_for_one_person_known_or_not() -> None:
    limits = Limits(AMPLE)
    assert [tell(limits, "mygov", "anna", number, found=number % 2 == 0) for number in range(12)] == [True] * 10 + [
        False
    ] * 2
    assert limits.admit("mygov", "anna", 600.0) == HOUR_S - 600
    assert tell(limits, "mygov", "elnur", 1, found=True, now_s=600.0)
    assert tell(limits, "mygov", "anna", 11, found=True, now_s=HOUR_S)


def test_the_same_documents_again_cost_a_person_nothing() -> None:
    limits = Limits(AMPLE)
    for minute in range(50):
        assert all(tell(limits, "mygov", "anna", number, found=False, now_s=minute * 60.0) for number in range(9))


def test_a_client_that_asks_for_nobody_may_miss_1000_documents_an_hour_and_find_any_number() -> None:
    limits = Limits(AMPLE)
    assert all(tell(limits, "police", None, number, found=True) for number in range(5000))
    assert sum(tell(limits, "police", None, 10_000 + number, found=False) for number in range(5000)) == 1000
    assert not tell(limits, "police", None, 1, found=True)
    assert tell(limits, "police", None, 1, found=True, now_s=HOUR_S)


def test_a_hundred_thousand_guesses_of_one_client_tell_a_thousand_misses() -> None:
    limits = Limits(AMPLE)
    known = {50_000, 99_999}
    told = [number for number in range(100_000) if tell(limits, "thief", None, number, found=number in known)]
    assert told == list(range(1000))


def test_questions_under_way_when_the_limit_is_reached_tell_nothing_either() -> None:
    limits = Limits(AMPLE)
    assert [limits.admit("thief", None, 0.0) for _ in range(5000)] == [None] * 5000
    told = [
        limits.answered("thief", None, owner(number), found=number >= 4000, now_s=0.0) is None for number in range(5000)
    ]
    assert told == [True] * 1000 + [False] * 4000
    (thief,) = limits._clients.values()  # pyright: ignore[reportPrivateUsage]
    assert len(thief.misses._owners) == 1000  # pyright: ignore[reportPrivateUsage]


@given(
    guesses=st.lists(st.tuples(st.integers(0, 30), st.floats(0, 2 * HOUR_S)), max_size=60),
    known=st.tuples(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30))),
    subject=st.sampled_from([None, "anna"]),
)
def test_once_a_limit_is_reached_answers_depend_on_who_asks_and_when_alone(
    guesses: list[tuple[int, float]], known: tuple[set[int], set[int]], subject: str | None
) -> None:
    """Two worlds that differ in what is known: from the moment on that both are closed, nobody can tell them apart."""
    bounds = Bounds(client_misses=5, subject_documents=5)
    worlds = [(Limits(bounds), found) for found in known]
    said: list[list[tuple[bool, int]]] = [[], []]
    for number, now_s in sorted(guesses, key=lambda guess: guess[1]):
        for (limits, found), heard in zip(worlds, said, strict=True):
            answer = limits.admit("thief", subject, now_s)
            if answer is None:
                answer = limits.answered("thief", subject, owner(number), found=number in found, now_s=now_s)
            heard.append((number in found, 0) if answer is None else (False, round(answer * 1000)))
        if said[0][-1][1] and said[1][-1][1]:
            assert said[0][-1] == said[1][-1]


# The alarm


def test_more_than_half_of_the_misses_raise_one_alarm_an_hour_that_names_no_person(
    caplog: pytest.LogCaptureFixture,
) -> None:
    limits = Limits(AMPLE)
    before = alarms("mygov")
    raised: list[float] = []
    for number in range(9):
        tell(limits, "mygov", "anna-7XYZ", number, found=False)
        raised.append(alarms("mygov") - before)
    assert raised == [0, 0, 0, 0, 0, 1, 1, 1, 1]
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.WARNING
    assert "anna" not in caplog.text + str(caplog.records[0].__dict__)
    for number in range(9):
        tell(limits, "mygov", "anna-7XYZ", number, found=False, now_s=HOUR_S)
    assert alarms("mygov") - before == 2


def test_a_family_whose_documents_are_all_known_raises_no_alarm() -> None:
    limits = Limits(AMPLE)
    before = alarms("mygov")
    for number in range(10):
        tell(limits, "mygov", "anna", number, found=True)
    assert alarms("mygov") == before


def test_a_client_alone_raises_the_alarm_past_500_misses() -> None:
    limits = Limits(AMPLE)
    before = alarms("police")
    for number in range(500):
        tell(limits, "police", None, number, found=False)
    assert alarms("police") == before
    tell(limits, "police", None, 500, found=False)
    assert alarms("police") == before + 1


def test_invented_persons_whose_misses_add_up_raise_one_alarm_an_hour_and_are_answered() -> None:
    limits = Limits(msgspec.structs.replace(AMPLE, client_subject_misses=20))
    before = alarms("portal")
    raised: list[float] = []
    for number in range(25):
        assert tell(limits, "portal", f"person {number}", number, found=False)
        assert tell(limits, "portal", f"person {number}", number, found=False)  # the same again is no other miss
        assert tell(limits, "portal", f"person {number}", 1000 + number, found=True)
        raised.append(alarms("portal") - before)
    assert raised == [0] * 20 + [1] * 5
    for number in range(21):
        assert tell(limits, "portal", f"person {number}", number, found=False, now_s=HOUR_S)
    assert alarms("portal") - before == 2


# Memory


def test_who_has_been_silent_for_longest_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_module, "MOST_SUBJECTS", 3)
    limits = Limits(Bounds(subject_questions=1))
    for subject in ("a", "b", "c", "a", "d"):  # the second "a" is refused, and still counts as a sign of life
        limits.admit("mygov", subject, 0.0)
    assert [limits.admit("mygov", subject, 0.0) is None for subject in ("a", "d", "c", "b")] == [
        False,
        False,
        False,
        True,
    ]


def test_a_stream_of_invented_persons_keeps_no_more_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_module, "MOST_SUBJECTS", 100)
    monkeypatch.setattr(limits_module, "MOST_CLIENTS", 10)
    limits = Limits(AMPLE)
    for number in range(1000):
        tell(limits, f"client-{number}", f"person-{number}", number, found=False)
        tell(limits, f"client-{number}", None, number, found=False)
    assert len(limits._clients) == 10  # pyright: ignore[reportPrivateUsage]
    assert len(limits._subjects) == 100  # pyright: ignore[reportPrivateUsage]
