import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from permits.documents import DEFAULT_SERIES, Series, SeriesTable, canonical, tail


@pytest.mark.parametrize(
    ("typed", "document"),
    [
        ("aze 111-11-11", "AZE1111111"),
        ("AZE11111111", "AZE11111111"),
        ("AZE №1111111", "AZE1111111"),
        ("AZE nömrə 1111111", "AZE1111111"),
        ("А З Е 1111111", "AZE1111111"),
        ("AZE1O11111", "AZE1011111"),
        ("MYİ 7654321", "MYI7654321"),
        ("МУИ 7654321", "MYI7654321"),
        ("аа1234567", "AA1234567"),
        ("AA O123456", "AA0123456"),
        ("p1234567", "P1234567"),
        ("C01X00T47", "C01X00T47"),
        ("12AB34567", "12AB34567"),
        ("12345678Z", "12345678Z"),
        ("AAA123456", "AAA123456"),
    ],
)
def test_a_document_number_by_itself_has_one_canonical_form(typed: str, document: str) -> None:
    assert canonical(typed) == document
    assert canonical(document) == document


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "AZE",
        "1111111",
        "AZE111111",
        "AZE111111111",
        "AZE1111111 2",
        "AZE 111 11 11 2",
        "2 AZE1111111",
        "salam AZE1111111",
        "AZE1111111 AZE1111111",
        "AZE1111111l",
        "AZE1111111²",
        "AZE1I11111",
        "AZE 111*1111",
        "AZE ?1111111 P1234567",
        "AZE N1111111",
        "AA123456",
        "AAO123456",
        "AAI123456",
        "P 1234567",
        "P123456O",
        "O1234567",
        "Р1234567",
        "ƏB123456",
        "P123",
        "ABCDE1234",
        "P123456789",
        "AZE1111111" + " " * 500,
    ],
)
def test_what_is_not_exactly_one_document_has_no_canonical_form(typed: str) -> None:
    assert canonical(typed) is None


@given(st.text(st.sampled_from("AZEMYIDOPNaeyioАЗЕУİ0123456789２  -.*№²\u200b"), max_size=16))
def test_a_canonical_form_is_its_own_canonical_form(text: str) -> None:
    document = canonical(text)
    assert document is None or canonical(document) == document


@given(st.from_regex(r"(AZE|AA|MYI|DYI|MOM)[0-9]{7,8}", fullmatch=True), st.sampled_from(["", " ", "\n", "\u200b"]))
def test_a_national_number_is_canonical_as_it_stands(number: str, before: str) -> None:
    assert canonical(f"{before}{number}") == number  # with anything before it, it is read letter by letter


@pytest.mark.parametrize(
    "document",
    ["AZE1111111", "AZE11111111", "AA1111111", "MYI1111111", "DYI1111111", "MOM1111111", "P12345", "C01X00T47"],
)
def test_the_default_table_accepts_the_documents_in_use(document: str) -> None:
    assert DEFAULT_SERIES.accepts(document)


@pytest.mark.parametrize("document", ["AA11111111", "MYI11111111", "P1234", "P123456789", "1234567", "AZE", ""])
def test_the_default_table_refuses_other_lengths(document: str) -> None:
    assert not DEFAULT_SERIES.accepts(document)


def test_a_series_taken_off_the_table_is_not_accepted_as_a_foreign_document() -> None:
    table = SeriesTable(series=(Series(name="identity card", prefix="AZE", digits=(8,)),), foreign_length=(6, 10))
    assert table.accepts("AZE11111111")
    assert not table.accepts("AZE1111111")
    assert not table.accepts("AA1111111")


def test_a_table_without_foreign_documents_refuses_them() -> None:
    table = msgspec.toml.decode('series = [{name = "card", prefix = "AZE", digits = [7, 8]}]', type=SeriesTable)
    assert table.accepts("AZE1111111")
    assert not table.accepts("P1234567")


def test_the_table_reads_from_toml() -> None:
    text = 'foreign_length = [7, 8]\n[[series]]\nname = "chip card"\nprefix = "AA"\ndigits = [7]\n'
    table = msgspec.toml.decode(text, type=SeriesTable)
    assert [table.accepts(d) for d in ("AA1234567", "P1234567", "P12345")] == [True, True, False]


def test_the_tail_is_the_last_four_characters() -> None:
    assert tail("AZE1234567") == "4567"
