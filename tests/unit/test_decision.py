"""The plain model of the rules, by the cases that people argued about."""

import pytest

from permits.calendar import DAY_MS, day_number, day_start_ms
from permits.decision import Model, Request
from permits.regimes import Rule

MIDNIGHT_MS = day_start_ms(day_number("20260101"))
NOON_MS = MIDNIGHT_MS + DAY_MS // 2
ONCE = (Rule(limit=1, purposes=(2,)),)


def ask(
    identity: str,
    *,
    owner: str = "AZE1111111",
    purpose: int = 2,
    at_ms: int = NOON_MS,
    asked_ms: int | None = None,
    refused: str | None = None,
    rules: tuple[Rule, ...] = ONCE,
    by_text: bool = False,
) -> Request:
    """A request that arrives when it is asked, unless said otherwise."""
    return Request(
        owner=owner,
        identity=identity,
        purpose=purpose,
        asked_ms=at_ms if asked_ms is None else asked_ms,
        arrived_ms=at_ms,
        refused=refused,
        rules=rules,
        by_text=by_text,
    )


def decide(*requests: Request, record_entries: int = 250) -> str:
    """The letters of requests in order."""
    model = Model(record_entries)
    return "".join(model.decide(request).letter for request in requests)


def test_one_permit_a_document_and_day() -> None:
    assert decide(ask("1"), ask("2"), ask("3", owner="AA7654321"), ask("4", at_ms=NOON_MS + DAY_MS)) == "aqaa"


def test_refusals_for_form_cost_no_quota() -> None:
    assert decide(ask("1", refused="m"), ask("2"), ask("3", refused="b")) == "mab"


def test_after_one_no_two_but_after_two_one() -> None:
    rules = (*ONCE, Rule(limit=1, purposes=(1,)))
    assert decide(ask("1", purpose=1, rules=()), ask("2", rules=rules)) == "aq"
    assert decide(ask("1", rules=rules), ask("2", purpose=1, rules=())) == "aa"


def test_the_day_is_that_of_the_asking() -> None:
    late = ask("1", asked_ms=MIDNIGHT_MS - 1, at_ms=MIDNIGHT_MS + 1)
    assert decide(late, ask("2", at_ms=MIDNIGHT_MS - 1), ask("3", at_ms=MIDNIGHT_MS + 1)) == "aqa"


@pytest.mark.parametrize(("days", "letter"), [(0, "D"), (1, "D"), (2, "D"), (3, "a")])
def test_a_repeat_is_known_in_its_days_record_and_the_two_before(days: int, letter: str) -> None:
    assert decide(ask("1"), ask("1", at_ms=NOON_MS + days * DAY_MS))[1] == letter


@pytest.mark.parametrize(("apart_s", "letter"), [(120, "D"), (-120, "D"), (121, "q"), (-121, "q")])
def test_a_text_is_known_for_120_seconds(apart_s: int, letter: str) -> None:
    assert decide(ask("t", by_text=True), ask("t", by_text=True, at_ms=NOON_MS + apart_s * 1000))[1] == letter


def test_a_full_record_sheds_repeats_too() -> None:
    asks = [ask(str(i), refused="m") for i in range(3)]
    assert decide(*asks, ask("0"), ask("9", at_ms=NOON_MS + DAY_MS), record_entries=2) == "mmSSa"


def test_of_two_permits_of_one_text_only_the_withdrawn_one_is_free_again() -> None:
    twice = (Rule(limit=2, purposes=(2,)),)
    model = Model()
    for at_ms in (NOON_MS, NOON_MS + 1_200_000):
        assert model.decide(ask("text", at_ms=at_ms, by_text=True, rules=twice)).letter == "a"
    model.withdraw("AZE1111111", ("text", (NOON_MS + 1_200_000) // 1000))
    assert [model.decide(ask(one, rules=twice)).letter for one in "34"] == ["a", "q"]
