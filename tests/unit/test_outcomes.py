"""Outcome letters: one for each reason, told apart by case."""

from permits.outcomes import (
    APPROVED,
    CANCELLED,
    CANCELLED_HELD,
    DEAD,
    DUPLICATE,
    GRANTED,
    MOVED,
    NAME_OF,
    REASON_OF,
    REASONS,
    REFUSALS,
    SHED,
)


def test_every_reason_has_a_letter_of_its_own() -> None:
    assert set(REFUSALS) == set(REASONS)
    assert len(set(REFUSALS.values())) == len(REASONS) == 13
    assert {REASON_OF[letter]: letter for letter in REASON_OF} == REFUSALS


def test_decisions_are_lower_case_and_ends_without_one_upper_case() -> None:
    assert all(letter.islower() for letter in (APPROVED, *REFUSALS.values(), CANCELLED, CANCELLED_HELD))
    assert all(letter.isupper() for letter in (DUPLICATE, SHED, MOVED, DEAD))


def test_every_letter_has_one_name() -> None:
    assert set(NAME_OF) == {APPROVED, *REFUSALS.values(), CANCELLED, CANCELLED_HELD, DUPLICATE, SHED, MOVED, DEAD}
    assert len(set(NAME_OF.values())) == len(NAME_OF)


def test_what_became_of_an_approval_is_told_apart_from_every_outcome() -> None:
    assert len(GRANTED) == 4
    assert GRANTED & NAME_OF.keys() == {APPROVED}
