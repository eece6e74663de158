"""Permit codes: the address of a permit's record, typed by people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from permits.codes import ALPHABET, LENGTH, MAX_PARTITIONS, decode, encode

partitions = st.integers(0, MAX_PARTITIONS - 1)


@given(partition=partitions, owner=st.binary(min_size=8, max_size=8), digest=st.binary(min_size=6, max_size=6))
def test_a_code_leads_back_to_partition_field_and_digest(partition: int, owner: bytes, digest: bytes) -> None:
    code = encode(partition, owner, digest)
    assert len(code) == LENGTH
    assert set(code) <= set(ALPHABET)
    assert decode(code) == (partition, owner[:4], digest[0])


def test_no_letter_looks_like_another() -> None:
    assert len(set(ALPHABET)) == 32
    assert not set(ALPHABET) & set("01IO")


def test_the_ends_of_every_part() -> None:
    assert encode(0, bytes(8), bytes(6)) == ALPHABET[0] * LENGTH
    assert encode(MAX_PARTITIONS - 1, b"\xff" * 8, b"\xff" * 6) == ALPHABET[-1] * LENGTH


@pytest.mark.parametrize("typed", ["abcd234567", "ABCD-234-567", " abcd 2345 67 "])
def test_case_spaces_and_hyphens_do_not_matter(typed: str) -> None:
    assert decode(typed) == decode("ABCD234567") is not None


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "ABCD23456",
        "ABCD2345678",
        "ABCD23456O",
        "ABCD234561",
        "ABCD23456Ə",
        "ABCD2345ß",
        "ABCD23456ſ",
        "ABCD23456\n",
    ],
)
def test_what_cannot_be_a_code_is_none(typed: str) -> None:
    assert decode(typed) is None


@given(st.text(max_size=20))
def test_any_text_is_a_code_or_none(typed: str) -> None:
    found = decode(typed)
    assert found is None or encode(found[0], found[1] + bytes(4), bytes([found[2]])) == "".join(
        letter for letter in typed.upper() if letter not in " -"
    )
