"""Sheets in every form come to the same rows, and what cannot be used is said without a word of theirs."""

import asyncio
import io
import json
import resource
import sys
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook

from api import sheet_process, sheets
from api.sheet_process import SheetReader
from api.sheets import CSV, NDJSON, XLSX, SheetError, chunks
from permits.applications import Row
from permits.imports import CHUNK_ROWS, WrittenRow
from runtime.problems import ProblemError
from tests.unit.bombs import MANY_REFERENCES, SPARSE, workbook

JSON: Final = "application/json"
NAMES: Final = ("fin", "document", "name", "valid_from", "valid_until", "zone")
CELLS: Final = ("5ABC12D", "AZE1111111", 'Əliyev; Əli "Kiçik", oğlu', "2026-01-01", "2026-01-31", "Bakı")
ROW: Final = Row(**dict(zip(NAMES, CELLS, strict=True)))
AZ: Final = ("FİN kod", "Sənədin nömrəsi", "Soyad, ad, ata adı", "Başlama tarixi", "BİTMƏ TARİXİ", "Ərazi")
RU: Final = ("ФИН", "Документ", "ФИО", "Дата начала", "Дата  окончания", "Район")
EN: Final = ("FIN code", "document number", "Full name", "Valid from", "valid-until", "District")


def read(media: str, data: bytes) -> list[tuple[int, WrittenRow]]:
    rows: list[tuple[int, WrittenRow]] = []
    for chunk in chunks(media, data):
        rows += zip(chunk.lines, msgspec.json.decode(chunk.rows, type=list[WrittenRow]), strict=True)
    return rows


def csv_of(table: Sequence[Sequence[str]], delimiter: str = ",") -> bytes:
    return "\r\n".join(delimiter.join(f'"{c.replace(chr(34), chr(34) * 2)}"' for c in row) for row in table).encode()


def xlsx_of(table: Sequence[Sequence[Any]], *, right: int = 0, down: int = 0) -> bytes:
    book = Workbook()
    page: Any = book.active
    for y, row in enumerate(table, 1):
        for x, value in enumerate(row, 1):
            page.cell(y + down, x + right).value = value
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def refused(media: str, data: bytes) -> str:
    with pytest.raises(SheetError) as caught:
        read(media, data)
    return caught.value.refused.detail


def flaws(media: str, data: bytes) -> Mapping[str, str]:
    ((_, row),) = read(media, data)
    assert row.row is None
    return {flaw.field: flaw.error for flaw in row.flaws}


def test_json_and_ndjson_are_rows_by_their_technical_names() -> None:
    row = dict(zip(NAMES, CELLS, strict=True))
    assert read(JSON, json.dumps([row, row]).encode()) == [(1, WrittenRow(ROW)), (2, WrittenRow(ROW))]
    assert read(NDJSON, (json.dumps(row) + "\n\n" + json.dumps(row)).encode()) == [
        (1, WrittenRow(ROW)),
        (3, WrittenRow(ROW)),
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("header", [NAMES, AZ, RU, EN])
def test_csv_has_any_of_three_separators_and_three_languages(
    delimiter: str, mark: bytes, header: Sequence[str]
) -> None:
    assert read(CSV, mark + csv_of([header, CELLS], delimiter)) == [(2, WrittenRow(ROW))]


@pytest.mark.parametrize("header", [NAMES, AZ, RU, EN])
def test_a_workbook_may_begin_anywhere(header: Sequence[str]) -> None:
    assert read(XLSX, xlsx_of([header, CELLS])) == [(2, WrittenRow(ROW))]
    assert read(XLSX, xlsx_of([header, CELLS], right=2, down=3)) == [(5, WrittenRow(ROW))]


def test_columns_come_in_any_order() -> None:
    for media, made in ((CSV, csv_of), (XLSX, xlsx_of)):
        assert read(media, made([NAMES[::-1], CELLS[::-1]])) == [(2, WrittenRow(ROW))]


def test_blank_rows_are_none_and_lines_keep_their_numbers() -> None:
    blank = ["", " ", "", "", "", ""]
    table = [blank, NAMES, blank, CELLS, blank, CELLS]
    for media, made in ((CSV, csv_of), (XLSX, xlsx_of)):
        assert [line for line, _ in read(media, made(table))] == [4, 6]


def test_a_quoted_line_break_counts_as_a_line_as_editors_count() -> None:
    data = csv_of([NAMES, [*CELLS[:5], "Ba\nkı"], CELLS])
    assert [line for line, _ in read(CSV, data)] == [2, 4]


def test_dates_are_dates_and_times_are_bakus() -> None:
    cells = [*CELLS[:3], date(2026, 1, 1), datetime(2026, 1, 31, 18, 30), ""]  # noqa: DTZ001
    ((_, row),) = read(XLSX, xlsx_of([NAMES, cells]))
    assert row.row is not None
    assert (row.row.valid_from, row.row.zone) == ("2026-01-01", None)
    assert datetime.fromisoformat(row.row.valid_until) == datetime(2026, 1, 31, 14, 30, tzinfo=UTC)


def test_a_day_written_as_people_here_write_it_is_that_day() -> None:
    ((_, row),) = read(CSV, csv_of([NAMES, [*CELLS[:3], "01.02.2026", "03.02.2026", "Bakı"]]))
    assert row.row is not None
    assert (row.row.valid_from, row.row.valid_until) == ("2026-02-01", "2026-02-03")


@pytest.mark.parametrize(
    ("said", "draft"), [("bəli", True), ("BƏLİ", True), ("Да", True), ("1", True), ("yox", False), ("", False)]
)
def test_a_draft_is_said_in_any_language(said: str, draft: bool) -> None:
    ((_, row),) = read(CSV, csv_of([[*NAMES, "qaralama"], [*CELLS, said]]))
    assert row.row is not None
    assert row.row.draft is draft


@pytest.mark.parametrize("value", [True, 1, 1.0])
def test_a_draft_may_be_a_number_or_a_tick_of_a_workbook(value: Any) -> None:
    ((_, row),) = read(XLSX, xlsx_of([[*NAMES, "draft"], [*CELLS, value]]))
    assert row.row is not None
    assert row.row.draft


def test_a_number_is_never_taken_for_a_fin() -> None:
    """1E6 in a spreadsheet is 1000000: a person's code would be guessed."""
    found = flaws(XLSX, xlsx_of([NAMES, [1000000, *CELLS[1:]]]))
    assert found == {"fin": "must be text, also where it looks like a number"}


def test_flaws_of_form_are_told_in_plain_words() -> None:
    row = {"fin": "5" * 17, "document": 1, "name": "x", "valid_from": None, "valid_until": "1" * 36}
    row |= {"phone": "0501234567", "zone": 7, "activity": "", "draft": 1}
    text = "must be text, also where it looks like a number"
    assert flaws(JSON, msgspec.json.encode([row])) == {
        "fin": "must have at most 16 characters",
        "document": text,
        "name": "must have at least 2 characters",
        "valid_from": text,
        "valid_until": "must have at most 35 characters",
        "phone": "must be + and 7 to 15 digits, as in +994501234567",
        "zone": text,
        "activity": "must have at least 1 character",
        "draft": "must be true or false",
    }


def test_all_flaws_of_a_row_are_told_at_once() -> None:
    found = flaws(CSV, csv_of([NAMES, ["5" * 17, "", *CELLS[2:5], "B" * 81]]))
    assert set(found) == {"fin", "document", "zone"}
    assert found["document"] == "is missing"
    assert flaws(JSON, b'[{"fin":1,"draft":"x","salary":3}]').keys() == {
        "fin", "document", "name", "valid_from", "valid_until", "draft", "row"
    }  # fmt: skip
    assert flaws(JSON, b"[7]") == flaws(NDJSON, b"{") == {"row": "is not a JSON object"}
    assert flaws(CSV, csv_of([NAMES, [*CELLS, "more"]])) == {"row": "has a cell in a column without a header"}


def test_columns_that_do_not_fit_are_named_by_their_place() -> None:
    assert refused(CSV, csv_of([[*NAMES, "Maaş"], [*CELLS, "9"]])).startswith("column G: the header is none of fin")
    assert refused(XLSX, xlsx_of([[*NAMES, "Maaş"], CELLS], right=25)).startswith("column AF:")
    assert refused(CSV, csv_of([[*NAMES, "FİN"], CELLS])) == "columns A and G are both fin"
    assert refused(CSV, csv_of([NAMES[1:4], CELLS[1:4]])).endswith("missing: fin, valid_until")


@given(st.lists(st.text(min_size=6, alphabet=st.characters(categories=["L", "N"])), min_size=1, max_size=4))
def test_no_refusal_repeats_a_word_of_the_sheet(words: list[str]) -> None:
    """A file without a header has personal data in its first row."""
    detail = refused(CSV, csv_of([[f"Q{word}" for word in words]]))
    assert not any(f"Q{word}" in detail for word in words)


def test_what_is_no_sheet_is_told_so() -> None:
    assert refused(JSON, b"[1") == refused(JSON, b'{"a":1}') == "the body is not a JSON array"
    assert "CSV UTF-8" in refused(CSV, "fin;Şəxs".encode("cp1254", "replace") + b"\xfe")
    assert refused(CSV, b'fin,document,name,valid_from,valid_until\n"x"y,') == "line 2 cannot be read: check its quotes"
    assert refused(XLSX, b"PK\x03\x04 nothing") == "the file is not an XLSX workbook"
    for media, data in ((JSON, b"[]"), (NDJSON, b"\n"), (CSV, csv_of([NAMES])), (XLSX, xlsx_of([NAMES]))):
        assert refused(media, data) == "there is no row"


def test_a_sheet_is_cut_into_chunks_and_has_a_most() -> None:
    sizes = [len(chunk.lines) for chunk in chunks(NDJSON, b"1\n" * (2 * CHUNK_ROWS + 1))]
    assert sizes == [CHUNK_ROWS, CHUNK_ROWS, 1]
    assert len(read(NDJSON, b"1\n" * 100_000)) == 100_000
    assert refused(NDJSON, b"1\n" * 100_001) == "more than 100000 rows"


def test_a_workbook_that_unpacks_to_too_much_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets, "MOST_UNPACKED_BYTES", 10_000)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("xl/workbook.xml", b" " * 10_001)
    assert refused(XLSX, file.getvalue()) == "the workbook unpacks to more than 10000 bytes"


async def test_a_sheet_is_read_in_a_process_of_its_own() -> None:
    (chunk,) = await SheetReader().read(XLSX, xlsx_of([NAMES, CELLS]))
    assert (chunk.lines, bytes(chunk.rows)) == ((2,), msgspec.json.encode([WrittenRow(ROW)]))
    with pytest.raises(ProblemError) as caught:
        await SheetReader().read(JSON, b"{}")
    assert (caught.value.problem.status, caught.value.problem.detail) == (400, "the body is not a JSON array")


@pytest.mark.parametrize("bomb", [SPARSE, MANY_REFERENCES], ids=["sparse", "many references"])
async def test_a_small_workbook_that_asks_for_endless_memory_ends_its_own_process_alone(bomb: bytes) -> None:
    assert len(bomb) < 200_000
    reader = SheetReader()
    with pytest.raises(ProblemError) as caught:
        await reader.read(XLSX, bomb)
    assert caught.value.problem.status == 422
    if sys.platform == "linux":  # elsewhere the unit is another, and memory may be unlimited
        assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 <= sheets.MOST_MEMORY_BYTES
    cell = '<row r="{0}"><c r="A{0}" t="str"><v>{1}</v></c></row>'
    with pytest.raises(ProblemError) as caught:
        await reader.read(XLSX, workbook(cell.format(1, "fin")))
    assert "missing: document" in caught.value.problem.detail


async def test_a_sheet_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheet_process, "PATIENCE_S", 0.001)
    with pytest.raises(ProblemError) as caught:
        await SheetReader().read(JSON, b"[1]")
    assert caught.value.problem.status == 422


async def test_more_sheets_than_may_wait_are_sent_away_at_once() -> None:
    reader = SheetReader()
    answers = await asyncio.gather(*(reader.read(NDJSON, b"1") for _ in range(8)), return_exceptions=True)
    problems = [answer.problem.status for answer in answers if isinstance(answer, ProblemError)]
    assert problems == [503] * 3
