"""What differs between two policies, told key by key."""

from pathlib import Path

import pytest

from permits.policy import DEFAULT_FILE, Policy, load, parse
from permits.policy_diff import Difference, differences

DEFAULT = DEFAULT_FILE.read_text()
CURFEW = """
[[regimes]]
name = "curfew"
from = 2020-09-28T00:00:00
curfew = { from = 21:00:00, until = 06:00:00 }
zones = ["baku"]
rules = [{ after = [1], no = [1] }]
barred = [{ list = "abuse", purposes = [1] }]
purposes = [{ code = 1, minutes = 60, names = { az = "a", ru = "b", en = "c" } }]
[zones]
baku = { az = "Bakı", ru = "Баку", en = "Baku" }
"""


def changed(*swaps: tuple[str, str], more: str = "") -> Policy:
    """The default policy with some of its text exchanged."""
    text = DEFAULT
    for old, new in swaps:
        assert old in text
        text = text.replace(old, new, 1)
    return parse((text + more).encode(), Path("changed.toml"))


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        ("texts_days = 3", "texts_days = 5", ("retention.texts_days", "3", "5")),
        ("minutes = 180\nper_day", "minutes = 120\nper_day", ("regimes.founding.purposes.2.minutes", "180", "120")),
        ("minutes = 180\nper_day", "per_day", ("regimes.founding.purposes.2.minutes", "180", None)),
        ("extendable = true", "", ("regimes.founding.purposes.1.extendable", "true", "false")),
        ("honoured_days = 3", "", ("regimes.founding.purposes.3.honoured_days", "3", "2")),
        ("late_minutes = 60", "", ("regimes.founding.late_minutes", "60", None)),
        ("late_minutes = 60", "off = false", ("regimes.founding.late_minutes", "60", None)),
        ("purposes = [3]", "purposes = [2, 3]", ("regimes.founding.barred.abuse.purposes", "3", "2, 3")),
        ("foreign_length = [6, 9]", "foreign_length = [7, 9]", ("documents.foreign_length", "6, 9", "7, 9")),
        ("digits = [7, 8]", "digits = [8]", ("documents.series.AZE.digits", "7, 8", "8")),
        ("infected = 1", "infected = 9", ("lists.infected", "1", "9")),
        (
            "2020-01-01T00:00:00",
            "2020-01-02T00:00:00",
            ("regimes.founding.from", "2020-01-01 00:00:00", "2020-01-02 00:00:00"),
        ),
    ],
)
def test_one_changed_key_is_one_line(old: str, new: str, difference: tuple[str, str | None, str | None]) -> None:
    assert differences(load(), changed((old, new))) == [Difference(*difference)]


def test_a_new_regime_is_told_with_all_it_says_and_without_its_defaults() -> None:
    found = differences(load(), changed(more=CURFEW))
    assert [(d.where, d.before, d.after) for d in found] == [
        ("regimes", "founding", "founding, curfew"),
        ("zones.baku.az", None, "Bakı"),
        ("zones.baku.ru", None, "Баку"),
        ("zones.baku.en", None, "Baku"),
        ("regimes.curfew.from", None, "2020-09-28 00:00:00"),
        ("regimes.curfew.zones", None, "baku"),
        ("regimes.curfew.curfew", None, "21:00:00-06:00:00"),
        ("regimes.curfew.purposes", None, "1"),
        ("regimes.curfew.purposes.1.names.az", None, "a"),
        ("regimes.curfew.purposes.1.names.ru", None, "b"),
        ("regimes.curfew.purposes.1.names.en", None, "c"),
        ("regimes.curfew.purposes.1.minutes", None, "60"),
        ("regimes.curfew.rules", None, "after 1 no 1"),
        ("regimes.curfew.barred", None, "abuse"),
        ("regimes.curfew.barred.abuse.purposes", None, "1"),
    ]


def test_what_is_gone_is_what_was_new_the_other_way_round() -> None:
    a, b = load(), changed(more=CURFEW)
    there = {(d.where, d.before, d.after) for d in differences(a, b)}
    assert {(d.where, d.after, d.before) for d in differences(b, a)} == there


def test_the_same_said_otherwise_is_no_difference() -> None:
    other = changed(
        ("2020-01-01T00:00:00", "2019-12-31T20:00:00Z"),
        ('name = "founding"', 'name = "founding"\noff = false\nrules = []'),
        ("minutes = 180\nper_day = 1", "per_day = 1\nhonoured_days = 2\nminutes = 180"),
    )
    assert differences(load(), other) == []


def test_another_order_of_codes_is_a_difference_because_replies_offer_them_so() -> None:
    swapped = changed(("code = 1", "code = 9"), ("code = 2", "code = 1"), ("code = 9", "code = 2"))
    assert Difference("regimes.founding.purposes", "1, 2, 3", "2, 1, 3") in differences(load(), swapped)
