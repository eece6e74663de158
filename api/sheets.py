"""Sheets as organisations send them: JSON, NDJSON, CSV or XLSX, read into rows and cut into chunks.

Runs as a process of its own for each sheet (`sheet_process` starts it): reads the sheet from standard input, writes a
`SheetChunk` a line to standard output, or a `SheetRefused`. No refusal repeats a word of the sheet: columns are named
by their place.
"""

import csv
import io
import re
import resource
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from itertools import islice
from typing import Any, Final, Literal, cast
from unicodedata import normalize

import msgspec

from permits.calendar import BAKU
from permits.employees import Flaw
from permits.imports import CHUNK_ROWS, MOST_ROWS, WrittenRow, read_cells

NDJSON: Final = "application/x-ndjson"
CSV: Final = "text/csv"
XLSX: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
MOST_UNPACKED_BYTES: Final = 200_000_000
MOST_MEMORY_BYTES: Final = 1 << 30
"""A hundred thousand rows need a third; a few hundred bytes of XLSX can ask for terabytes, and the process ends."""
MOST_CPU_S: Final = 60

# Headers in Azerbaijani, Russian and English, compared without case, marks and signs; the technical name counts too.
_HEADERS: Final[Mapping[str, tuple[str, ...]]] = {
    "fin": ("FİN kod", "FİN kodu", "Fərdi identifikasiya nömrəsi", "ФИН", "ФИН код", "ПИН", "FIN code"),
    "document": (
        "Sənəd", "Sənədin nömrəsi", "Sənəd nömrəsi", "Seriya və nömrə", "Sənədin seriya və nömrəsi",
        "Şəxsiyyət vəsiqəsi", "Şəxsiyyət vəsiqəsinin nömrəsi", "Документ", "Номер документа", "Серия и номер",
        "Удостоверение личности", "Document number", "ID card",
    ),
    "name": (
        "Ad", "Ad, soyad", "Soyad, ad", "Soyad, ad, ata adı", "SAA", "Əməkdaş", "ФИО", "Имя", "Фамилия, имя, отчество",
        "Сотрудник", "Full name", "Employee",
    ),
    "valid_from": (
        "Başlama tarixi", "Başlanğıc", "Etibarlıdır: tarixdən", "С", "Дата начала", "Начало", "Действует с", "From",
        "Start date", "Start",
    ),
    "valid_until": (
        "Bitmə tarixi", "Son tarix", "Etibarlıdır: tarixədək", "До", "По", "Дата окончания", "Окончание",
        "Действует до", "Until", "To", "End date", "End",
    ),
    "phone": ("Telefon", "Mobil nömrə", "Mobil telefon", "Телефон", "Мобильный телефон", "Phone number", "Mobile"),
    "zone": ("Zona", "Ərazi", "Rayon", "Şəhər, rayon", "Зона", "Район", "Город, район", "District"),
    "activity": ("Fəaliyyət", "Fəaliyyət növü", "Fəaliyyət sahəsi", "Деятельность", "Вид деятельности"),
    "draft": ("Qaralama", "Черновик"),
}  # fmt: skip
_REQUIRED: Final = ("fin", "document", "name", "valid_from", "valid_until")
_YES: Final = frozenset(("true", "yes", "1", "hə", "bəli", "да"))
_NO: Final = frozenset(("false", "no", "0", "yox", "xeyr", "нет"))
_DAY: Final = re.compile(r"([0-9]{2})\.([0-9]{2})\.([0-9]{4})")


class SheetRefused(msgspec.Struct, frozen=True):
    """Why nothing of a sheet can be used, for its sender."""

    status: Literal[400, 422]
    detail: str


class SheetChunk(msgspec.Struct, frozen=True, array_like=True):
    """Rows that are stored together: where they stand, and as many `WrittenRow`s."""

    lines: tuple[int, ...]
    rows: msgspec.Raw


class SheetError(Exception):
    """Ends the reading of a sheet."""

    def __init__(self, detail: str, *, status: Literal[400, 422] = 422) -> None:
        super().__init__(detail)
        self.refused = SheetRefused(status, detail)


def chunks(media: str, data: bytes) -> Iterator[SheetChunk]:
    """A sheet's chunks in order; SheetError where the sheet as a whole cannot be used."""
    rows = _ROWS[media](data)
    count = 0
    while some := list(islice(rows, CHUNK_ROWS)):
        count += len(some)
        if count > MOST_ROWS:
            raise SheetError(f"more than {MOST_ROWS} rows")
        written = msgspec.Raw(msgspec.json.encode([row for _, row in some]))
        yield SheetChunk(tuple(line for line, _ in some), written)
    if not count:
        raise SheetError("there is no row")


Rows = Iterator[tuple[int, WrittenRow]]
"""Each with its line, from 1."""


def _json(data: bytes) -> Rows:
    try:
        items = msgspec.json.decode(data, type=list[Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise SheetError("the body is not a JSON array", status=400) from None
    for line, item in enumerate(items, 1):
        yield line, _object(item)


def _ndjson(data: bytes) -> Rows:
    for line, text in enumerate(data.split(b"\n"), 1):
        if text.strip():
            try:
                item = msgspec.json.decode(text)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                item = None
            yield line, _object(item)


def _object(item: Any) -> WrittenRow:
    if not isinstance(item, dict):
        return WrittenRow(flaws=(Flaw("row", "is not a JSON object"),))
    return read_cells(cast("dict[str, Any]", item))


def _csv(data: bytes) -> Rows:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SheetError("the CSV is not UTF-8: save it as “CSV UTF-8”") from None
    first = text.lstrip().partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(";,\t", key=first.count), strict=True)

    def records() -> Iterator[tuple[int, list[Any]]]:
        while True:
            line = reader.line_num + 1
            try:
                record: list[Any] = next(reader)
            except StopIteration:
                return
            except csv.Error:
                raise SheetError(f"line {line} cannot be read: check its quotes") from None
            yield line, record

    return _table(records())


def _xlsx(data: bytes) -> Rows:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            unpacked = sum(member.file_size for member in packed.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        raise SheetError("the file is not an XLSX workbook") from None
    if unpacked > MOST_UNPACKED_BYTES:
        raise SheetError(f"the workbook unpacks to more than {MOST_UNPACKED_BYTES} bytes")
    from python_calamine import CalamineError, CalamineWorkbook  # nothing else needs it

    try:
        sheet = CalamineWorkbook.from_filelike(io.BytesIO(data)).get_sheet_by_index(0)
    except CalamineError:
        raise SheetError("the workbook's first sheet cannot be read") from None
    left = sheet.start[1] if sheet.start else 0
    return _table(((line, list(row)) for line, row in enumerate(sheet.iter_rows(), 1)), left)


def _table(records: Iterator[tuple[int, list[Any]]], left: int = 0) -> Rows:
    """Rows under a header; `left` columns before the first are empty."""
    filled = ((line, record) for line, record in records if any(map(_filled, record)))
    names = _columns(next((record for _, record in filled), ()), left)
    for line, record in filled:
        cells = {name: _cell(name, value) for name, value in zip(names, record, strict=False) if _filled(value)}
        if None in cells or any(map(_filled, record[len(names) :])):
            yield line, WrittenRow(flaws=(Flaw("row", "has a cell in a column without a header"),))
        else:
            yield line, read_cells({str(name): value for name, value in cells.items()})


def _columns(header: Sequence[Any], left: int) -> list[str | None]:
    """The technical name of each column; None where it has no header."""
    names: list[str | None] = []
    for at, title in enumerate(header):
        name = _NAME_OF.get(_plain(str(title)))
        place = _letters(left + at)
        if name is None and _filled(title):
            raise SheetError(f"column {place}: the header is none of {', '.join(_HEADERS)}, in az, ru or en")
        if name is not None and name in names:
            raise SheetError(f"columns {_letters(left + names.index(name))} and {place} are both {name}")
        names.append(name)
    missing = [name for name in _REQUIRED if name not in names]
    if missing:
        raise SheetError(f"the first row must name the columns; missing: {', '.join(missing)}")
    return names


def _cell(name: str | None, value: Any) -> Any:
    """A cell as JSON would have it. Numbers stay numbers: a FIN that a spreadsheet took for one may have changed."""
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=BAKU)).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str):
        text = value.strip()
        if name == "draft":
            word = _plain(text)
            return True if word in _YES else False if word in _NO else text
        day = _DAY.fullmatch(text) if name in ("valid_from", "valid_until") else None
        return f"{day[3]}-{day[2]}-{day[1]}" if day else text
    return bool(value) if name == "draft" and value in (0, 1) else value


def _filled(value: Any) -> bool:
    return value is not None and (not isinstance(value, str) or bool(value.strip()))


def _letters(column: int) -> str:
    """A column as spreadsheets name it: A, B, … Z, AA."""
    rest, last = divmod(column, 26)
    return (_letters(rest - 1) if rest else "") + chr(ord("A") + last)


def _plain(title: str) -> str:
    """Its letters and digits, without case and marks."""
    return "".join(c for c in normalize("NFKD", title).replace("ı", "i").casefold() if c.isalnum())


_NAME_OF: Final = {_plain(title): name for name, titles in _HEADERS.items() for title in (name, *titles)}
_ROWS: Final = {"application/json": _json, NDJSON: _ndjson, CSV: _csv, XLSX: _xlsx}


def _limit_this_process() -> None:
    """Whatever a sheet asks for, it ends this process alone."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it would hold the sheet
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU_S, MOST_CPU_S))
    with suppress(ValueError, OSError):  # not every system limits memory
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))


def main() -> None:
    """Reads a sheet of the media type in the first argument."""
    _limit_this_process()
    out = sys.stdout.buffer
    try:
        for chunk in chunks(sys.argv[1], sys.stdin.buffer.read()):
            out.write(msgspec.json.encode(chunk) + b"\n")
    except SheetError as error:
        out.write(msgspec.json.encode(error.refused))


if __name__ == "__main__":
    main()
