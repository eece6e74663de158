"""Policy as dated data: which regime holds when, when it needs permits at all, and what it refuses by itself."""

from datetime import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from permits.calendar import DAY_MS
from permits.policy import Policy, Rule, load, parse
from permits.regimes import Hours, instant_ms
from permits.sms import read
from tests.policy.country import instant

DOCUMENTS = """
[documents]
foreign_length = [6, 9]
[[documents.series]]
name = "ID card"
prefix = "AZE"
digits = [7, 8]
"""
NAMES = 'names = { az = "a", ru = "b", en = "c" }'
LISTS = '[lists]\ninfected = 1\nabuse = 4\n[zones]\nbaku = { az = "Bakı", ru = "Баку", en = "Baku" }\n'


def regime(name: str, start: str, keys: str = "", purposes: str = "{ code = 2, NAMES }") -> str:
    """One regime."""
    given = f"purposes = [{purposes.replace('NAMES', NAMES)}]\n" if purposes else ""
    return f'[[regimes]]\nname = "{name}"\nfrom = {start}\n{keys}\n{given}'


REGIME = regime("first", "2020-04-05T00:00:00", purposes="{ code = 2, minutes = 120, per_day = 1, NAMES }")
LATER = regime("later", "2020-04-27T00:00:00", purposes="{ code = 2, minutes = 180, per_day = 2, NAMES }")
OFF = regime("off", "2020-05-18T00:00:00+04:00", "off = true", purposes="")


def policy(*regimes: str) -> Policy:
    """A policy of some regimes."""
    return parse((DOCUMENTS + LISTS + "".join(regimes)).encode(), Path("rules.toml"))


def refused(rules: Policy, text: str, moment: str, *, decided: str | None = None) -> str | None:
    """The reason for which a text is refused that was received at a moment."""
    asked_ms = instant(moment)
    now_ms = asked_ms if decided is None else instant(decided)
    return rules.refuses(rules.at(asked_ms), read(text), asked_ms=asked_ms, now_ms=now_ms)


@pytest.fixture(scope="module")
def default() -> Policy:
    return load()


@pytest.mark.parametrize(
    ("code", "minutes", "rules"), [(1, 180, ()), (2, 180, (Rule(limit=1, purposes=(2,)),)), (3, None, ())]
)
def test_the_default_is_the_founding_rules(
    default: Policy, code: int, minutes: int | None, rules: tuple[Rule, ...]
) -> None:
    founding = default.at(instant("2026-01-01"))
    purpose = founding.purpose(code)
    assert purpose is not None
    assert (purpose.minutes, founding.rules_of(purpose)) == (minutes, rules)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2 AZE 1111111", None),
        ("3 MYİ 1234567", None),
        ("2 P1234567", None),
        ("2 AA 12345678", "bad_document"),
        ("5 AZE 1111111", "unknown_code"),
        ("5 AA 12345678", "bad_document"),
        ("1 2 AZE 1111111", "ambiguous"),
        ("salam", "malformed"),
        ("AZE 1111111", "malformed"),
        ("2 AZE 111", "bad_document"),
    ],
)
def test_the_default_refuses_what_no_rule_need_be_asked_for(default: Policy, text: str, reason: str | None) -> None:
    assert refused(default, text, "2026-01-01") == reason


def test_records_outlive_their_day_by_the_longest_that_is_honoured(default: Policy) -> None:
    assert default.keep_days == 3
    assert policy(regime("r", "2020-01-01T00:00:00", purposes="{ code = 2, honoured_days = 7, NAMES }")).keep_days == 7


@pytest.mark.parametrize(
    ("moment", "name"),
    [
        ("2019-01-01", "first"),
        ("2020-04-05", "first"),
        ("2020-04-26T23:59:59.999", "first"),
        ("2020-04-27", "later"),
        ("2020-05-17T23:59:59.999", "later"),
        ("2020-05-18", "off"),
        ("2030-01-01", "off"),
    ],
)
def test_a_regime_holds_from_its_baku_midnight_until_the_next(moment: str, name: str) -> None:
    for rules in (policy(REGIME, LATER, OFF), policy(OFF, LATER, REGIME)):
        assert rules.at(instant(moment)).name == name


def test_a_change_of_rules_changes_limits_and_known_codes() -> None:
    given = policy(REGIME, LATER, OFF)
    found = [(p.minutes, r.rules_of(p)) for r in given.regimes for p in r.purposes]
    assert found == [(120, (Rule(1, (2,)),)), (180, (Rule(2, (2,)),))]
    assert refused(given, "2 AZE 1111111", "2020-04-27") is None
    assert refused(given, "2 AZE 1111111", "2020-05-18") == "regime_off"


def test_a_regime_with_an_end_needs_no_permits_from_then_on() -> None:
    given = policy(regime("short", "2020-04-05T00:00:00", "until = 2020-04-07T12:00:00"))
    assert refused(given, "2 AZE 1111111", "2020-04-07T11:59:59.999") is None
    assert refused(given, "2 AZE 1111111", "2020-04-07T12:00") == "regime_off"
    assert refused(given, "salam", "2020-05-07T12:00") == "regime_off"


@pytest.mark.parametrize(
    ("hours", "inside", "outside"),
    [
        (
            Hours(start=time(9), until=time(18, 30)),
            ["09:00", "12:00", "18:29:59.999"],
            ["08:59:59.999", "18:30", "00:00"],
        ),
        (
            Hours(start=time(21), until=time(6)),
            ["21:00", "23:59:59.999", "00:00", "05:59:59.999"],
            ["06:00", "12:00", "20:59:59.999"],
        ),
        (Hours(start=time(18), until=time(0)), ["18:00", "23:59:59.999"], ["00:00", "17:59:59.999"]),
        (Hours(start=time(0), until=time(6)), ["00:00", "05:59:59.999"], ["06:00", "23:59:59.999"]),
    ],
)
def test_hours_hold_their_beginning_and_not_their_end(hours: Hours, inside: list[str], outside: list[str]) -> None:
    for day in ("2020-04-05", "2026-11-24"):
        assert all(hours.holds(instant(f"{day}T{at}")) for at in inside)
        assert not any(hours.holds(instant(f"{day}T{at}")) for at in outside)


def test_a_code_may_be_asked_for_in_its_hours_alone() -> None:
    day = "hours = { from = 09:00:00, until = 18:00:00 }"
    given = policy(
        regime("day", "2020-04-05T00:00:00", purposes=f"{{ code = 1, NAMES }}, {{ code = 2, {day}, NAMES }}")
    )
    assert refused(given, "2 AZE 1111111", "2020-04-05T09:00") is None
    assert refused(given, "2 AZE 1111111", "2020-04-05T18:00") == "hours"
    assert refused(given, "1 AZE 1111111", "2020-04-05T18:00") is None
    assert refused(given, "2 AZE 1111111", "2020-04-05T17:59:59", decided="2020-04-05T18:20") is None


def test_an_sms_that_waited_too_long_is_asked_for_again() -> None:
    given = policy(regime("quick", "2020-04-05T00:00:00", "late_minutes = 60"))
    assert refused(given, "2 AZE 1111111", "2020-04-05T23:30", decided="2020-04-06T00:30") is None
    assert refused(given, "2 AZE 1111111", "2020-04-05T23:30", decided="2020-04-06T00:30:00.001") == "late"
    assert refused(given, "9 AZE 1111111", "2020-04-05T23:30", decided="2020-04-06T08:00") == "unknown_code"


def test_without_a_limit_no_sms_is_late() -> None:
    given = policy(REGIME)
    assert refused(given, "2 AZE 1111111", "2020-04-05T23:30", decided="2020-04-07T23:30") is None


CODES = "{ code = 1, NAMES }, { code = 2, per_day = 2, NAMES }"


def test_a_rule_over_codes_stands_behind_the_codes_own_limit() -> None:
    given = policy(
        regime("cross", "2020-04-05T00:00:00", "rules = [{ after = [1], no = [2] }, { after = [2], no = [2] }]", CODES)
    )
    [cross] = given.regimes
    one, two = cross.purposes
    assert cross.rules_of(one) == ()
    assert cross.rules_of(two) == (Rule(2, (2,)), Rule(1, (1,)), Rule(1, (2,)))


def test_one_a_day_over_all_is_one_rule() -> None:
    given = policy(regime("one", "2020-04-05T00:00:00", "rules = [{ after = [1, 2], no = [1, 2] }]", CODES))
    [one] = given.regimes
    assert [one.rules_of(purpose)[-1] for purpose in one.purposes] == [Rule(1, (1, 2))] * 2


def test_a_list_bars_from_the_codes_it_names_or_from_all() -> None:
    barred = 'barred = [{ list = "infected" }, { list = "abuse", purposes = [2] }]'
    [barring] = policy(regime("r", "2020-04-05T00:00:00", barred, CODES)).regimes
    assert barring.lists_of(1) == ("infected",)
    assert barring.lists_of(2) == ("infected", "abuse")


def test_the_version_names_the_file_and_changes_with_its_bytes() -> None:
    one = policy(REGIME).version
    assert one.startswith("rules-")
    assert policy(REGIME).version == one
    assert policy(REGIME, "\n").version != one


def test_a_permit_without_end_may_stand_as_long_as_any_regime_honours_its_purpose() -> None:
    three, five = (regime(f"for-{days}", f"2020-04-0{days}T00:00:00", purposes=endless(days)) for days in (3, 5))
    now_ms = instant("2026-01-10T12:00")
    assert policy(three).endless_since_ms(3, now_ms) == instant("2026-01-08T00:00")
    given = policy(three, five)
    assert given.endless_since_ms(3, now_ms) == given.endless_since_ms(None, now_ms) == instant("2026-01-06T00:00")
    assert given.endless_since_ms(2, now_ms) == instant("2026-01-11T00:00")


def endless(days: int) -> str:
    return f"{{ code = 3, honoured_days = {days}, NAMES }}, {{ code = 2, minutes = 60, NAMES }}"


TIMED = (
    regime("open", "2020-04-05T00:00:00"),
    regime("nightly", "2020-04-15T00:00:00", "curfew = { from = 21:00:00, until = 06:00:00 }"),
    regime(
        "short",
        "2020-04-20T00:00:00",
        "until = 2020-04-28T12:00:00",
        purposes="{ code = 1, NAMES }, { code = 2, hours = { from = 10:00:00, until = 16:30:00 }, NAMES }",
    ),
)


@given(st.integers(0, 9 * DAY_MS), st.integers(0, 9 * DAY_MS), st.sampled_from([1, 2, 2, 2, 9]))
def test_what_the_clock_of_a_regime_tells_alike_is_refused_alike(one_ms: int, other_ms: int, code: int) -> None:
    given_policy = policy(*TIMED)
    asked = read(f"{code} AZE 1111111")
    for one in given_policy.regimes:
        moments = [instant_ms(one.start) + at for at in (one_ms, other_ms)]
        if not one.looks_at_clock or one.clock(moments[0]) == one.clock(moments[1]):
            assert len({given_policy.refuses(one, asked, asked_ms=at, now_ms=at) for at in moments}) == 1


def test_the_span_of_a_moment_is_where_its_regime_holds() -> None:
    several = policy(*TIMED)
    starts = [instant_ms(one.start) for one in several.regimes]
    assert [one.looks_at_clock for one in several.regimes] == [False, True, True]
    for at_ms in (0, *starts, *(start - 1 for start in starts), starts[-1] + DAY_MS):
        found, from_ms, until_ms = several.span(at_ms)
        assert found is several.at(at_ms)
        assert from_ms <= at_ms < until_ms
        assert not any(from_ms < start < until_ms for start in starts[1:])
