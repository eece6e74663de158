"""The fold of what was proposed, confirmed and withdrawn."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from permits import policy as policies
from permits import versions
from permits.messages import ENCODER
from permits.policy import PolicyError
from permits.versions import Book, Confirmed, Founding, Item, Proposed, Withdrawn
from tests.policy_texts import DEFAULT, followed

LATER = followed(DEFAULT, 4_000_000_000_000, name="later")


def proposed(number: int, text: str = DEFAULT) -> Proposed:
    return Proposed(number, versions.proposal(number, text).version, "anna", text, 0, "digest")


def book_of(*items: Item) -> Book:
    book = Book()
    for item in items:
        book.add(ENCODER.encode(item))
    return book


FIRST, SECOND = proposed(1), proposed(2, LATER)


def test_a_proposal_changes_nothing_until_it_is_confirmed() -> None:
    book = book_of(FIRST)
    assert (book.latest, book.confirmed(), book.items) == (None, {}, 1)
    assert book.versions[FIRST.version].state == "proposed"
    book.add(ENCODER.encode(Confirmed(2, FIRST.version, "boris", 0)))
    assert book.latest is not None
    assert (book.latest.version, book.versions[FIRST.version].state) == (FIRST.version, "confirmed")


def test_what_is_withdrawn_changes_nothing() -> None:
    book = book_of(FIRST, Withdrawn(2, FIRST.version, "anna"))
    assert (book.latest, book.confirmed(), book.versions[FIRST.version].state) == (None, {}, "withdrawn")


def test_the_version_confirmed_last_holds_whatever_was_proposed_last() -> None:
    book = book_of(
        FIRST, SECOND, Confirmed(3, SECOND.version, "boris", 0), Confirmed(4, FIRST.version, "boris", 0), proposed(5)
    )
    assert book.latest is not None
    assert book.latest.version == FIRST.version
    assert [regime.name for regime in book.latest.regimes] == ["founding"]
    assert set(book.confirmed()) == {FIRST.version, SECOND.version}


def test_the_file_before_the_first_version_is_known_by_its_own_name(tmp_path: Path) -> None:
    path = tmp_path / "rules.of.2020.toml"
    path.write_text(DEFAULT, newline="\r\n")
    file = policies.load(path)
    founding = Founding(file.version, path.read_bytes().decode())
    found = book_of(FIRST, Confirmed(2, FIRST.version, "boris", 0, founding)).confirmed()
    assert list(found) == [file.version, FIRST.version]
    assert [policy.version for policy in found.values()] == list(found)


def test_a_version_is_named_by_its_number_and_its_text() -> None:
    assert FIRST.version.startswith("p1-")
    assert len({versions.proposal(n, text).version for n in (1, 2) for text in (DEFAULT, LATER)}) == 4
    assert versions.read(FIRST.version, DEFAULT).version == FIRST.version


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"[]",
        b'{"did":"forgotten","at_ms":1,"version":"p1-00000000","actor":"anna"}',
        ENCODER.encode(Confirmed(2, "p9-00000000", "boris", 0)),
        ENCODER.encode(Withdrawn(2, "p9-00000000", "boris")),
        ENCODER.encode(Confirmed(2, FIRST.version, "boris", 0)),
    ],
)
def test_what_cannot_be_read_is_not_added(raw: bytes) -> None:
    newer: Any = msgspec.structs.replace(FIRST, text=DEFAULT + "\n[words]\nof_a = 'newer release'\n")
    book = book_of(newer)
    with pytest.raises(ValueError, match=r"."):
        book.add(raw)
    assert (book.items, book.latest, book.versions[FIRST.version].state) == (1, None, "proposed")


def test_a_text_that_is_no_policy_is_refused_with_its_key() -> None:
    with pytest.raises(PolicyError, match=r"p3\.toml: regimes"):
        versions.proposal(3, DEFAULT.replace("minutes = 180", 'minutes = "long"', 1))
