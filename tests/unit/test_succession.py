"""What a version of the rules may change of the one before it."""

from pathlib import Path

import pytest

from permits import policy as policies
from permits.calendar import DAY_MS, HOUR_MS
from permits.policy import Policy
from permits.succession import RECEIPT_AHEAD_MS, first_change_ms, known_by_ms, undated_changes
from tests.policy_texts import DEFAULT, followed

NOON_MS = 1_767_254_400_000
"""2026-01-01 12:00 in Baku."""
MIDNIGHT_MS = NOON_MS - 12 * HOUR_MS
ZONES = '\n[zones]\nbaku = { az = "Bakı", ru = "Баку", en = "Baku" }\n'


def policy(text: str) -> Policy:
    return policies.parse(text.encode(), Path("rules.toml"))


LATER = followed(DEFAULT, NOON_MS, name="later")
LATEST = followed(LATER, NOON_MS + DAY_MS, name="latest")


@pytest.mark.parametrize(
    ("before", "after", "first_ms"),
    [
        (DEFAULT, DEFAULT, None),
        (DEFAULT, "# other words, the same rules\n" + DEFAULT, None),
        (DEFAULT, DEFAULT.replace("texts_days = 3", "texts_days = 30"), None),
        (DEFAULT, LATER, NOON_MS),
        (LATER, DEFAULT, NOON_MS),
        (LATER, LATEST, NOON_MS + DAY_MS),
        (DEFAULT, LATEST, NOON_MS),
        (LATER, followed(DEFAULT, NOON_MS, name="later", honoured_days=3), NOON_MS),
        (LATER, followed(DEFAULT, NOON_MS, name="other"), NOON_MS),
        (LATER, followed(DEFAULT, NOON_MS + 1000, name="later"), NOON_MS),
        (LATER, followed(DEFAULT, NOON_MS - 1000, name="later"), NOON_MS - 1000),
        (LATER, followed(LATER, NOON_MS - DAY_MS, name="between"), NOON_MS - DAY_MS),
    ],
)
def test_the_first_change_is_the_first_instant_whose_regime_differs(
    before: str, after: str, first_ms: int | None
) -> None:
    assert first_change_ms(policy(before), policy(after)) == first_ms


@pytest.mark.parametrize("from_ms", [0, NOON_MS])
def test_the_first_regime_holds_since_ever(from_ms: int) -> None:
    early = DEFAULT.replace("from = 2020-01-01T00:00:00", "from = 2090-01-01T00:00:00")
    assert early != DEFAULT
    assert first_change_ms(policy(early), policy(followed(early, from_ms, name="earlier"))) == 0
    assert first_change_ms(policy(early), policy(early.replace("minutes = 180", "minutes = 60"))) == 0


def test_rules_that_keep_records_longer_must_be_known_before_the_day_of_their_first_change() -> None:
    before = policy(DEFAULT)
    assert known_by_ms(before, policy(LATER)) == NOON_MS
    longer = policy(followed(DEFAULT, NOON_MS, name="later", honoured_days=7))
    assert known_by_ms(before, longer) == MIDNIGHT_MS - RECEIPT_AHEAD_MS
    assert known_by_ms(longer, before) == NOON_MS
    assert known_by_ms(before, before) is None


@pytest.mark.parametrize(
    ("after", "keys"),
    [
        (LATER, []),
        (DEFAULT.replace("texts_days = 3", "texts_days = 30"), []),
        (DEFAULT.replace('prefix = "MOM"', 'prefix = "MON"'), ["documents"]),
        (DEFAULT + '\n[[documents.series]]\nname = "new"\nprefix = "NEW"\ndigits = [7]\n', ["documents"]),
        (DEFAULT + ZONES, []),
    ],
)
def test_documents_have_no_date_and_stay(after: str, keys: list[str]) -> None:
    found = undated_changes(policy(DEFAULT), policy(after))
    assert [line.split(":")[0] for line in found] == keys


@pytest.mark.parametrize(
    ("change", "to", "lines"),
    [
        ("infected = 1", "infected = 1\nmore = 200", []),
        ("infected = 1", "infected = 200", ["lists.infected: must stay 1; other lists may be added"]),
        ('en = "Baku"', 'en = "Baku"}\nganja = { az = "Gəncə", ru = "Гянджа", en = "Ganja"', []),
        ('en = "Baku"', 'en = "Bakou"', ["zones.baku: must stay as it is; other zones may be added"]),
        (ZONES, "", ["zones.baku: must stay as it is; other zones may be added"]),
    ],
)
def test_lists_and_zones_may_be_added_and_stay(change: str, to: str, lines: list[str]) -> None:
    before = DEFAULT + ZONES
    assert before.count(change) == 1
    assert undated_changes(policy(before), policy(before.replace(change, to))) == lines
