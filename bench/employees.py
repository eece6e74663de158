"""Synthetic employees for imports: `python -m bench.employees --rows N --seed S --format csv|xlsx|json -o FILE`."""

import argparse
import csv
import io
import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final, Literal, get_args

import msgspec

from bench.arguments import positive

Format = Literal["csv", "xlsx", "json", "ndjson"]
DAYS: Final = 30

_FIN_LETTERS: Final = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"
_STRIDE: Final = 61_803_399
"""Coprime to 10 and to 34: multiplying modulo their powers visits every number once."""
_SERIES: Final = (("AZE", 8), ("AZE", 8), ("AA", 7), ("MYI", 7))
_FIRST: Final = ("Əli", "Leyla", "Murad", "Nigar", "Orxan", "Günel", "İlqar", "Şəbnəm", "Çingiz", "Ülviyyə")
_LAST: Final = ("Əliyev", "Məmmədov", "Hüseynov", "Quliyev", "Həsənov", "İsmayılov", "Rzayev", "Şükürov")
_ZONES: Final = ("Bakı", "Sumqayıt", "Gəncə", "Lənkəran")


class EmployeeRow(msgspec.Struct, frozen=True):
    """One employee as an organisation writes it."""

    fin: str
    document: str
    name: str
    valid_from: date
    valid_until: date
    zone: str


def employees(count: int, *, seed: int, start: date) -> Iterator[EmployeeRow]:
    """Employees with valid data; no two share a FIN or a document, up to ten million of them."""
    rng = random.Random(seed)
    offset = rng.randrange(10**7)
    for index in range(count):
        number = index * _STRIDE + offset
        series, digits = _SERIES[index % len(_SERIES)]
        yield EmployeeRow(
            fin=_fin(number),
            document=f"{series}{number % 10**digits:0{digits}d}",
            name=f"{rng.choice(_FIRST)} {rng.choice(_LAST)}",
            valid_from=start,
            valid_until=start + timedelta(days=DAYS),
            zone=rng.choice(_ZONES),
        )


def sheet(rows: Iterable[EmployeeRow], form: Format) -> bytes:
    """The rows as an organisation would send them."""
    names = EmployeeRow.__struct_fields__
    if form == "json":
        return msgspec.json.encode(list(rows))
    if form == "ndjson":
        return msgspec.json.Encoder().encode_lines(rows)
    table = (msgspec.structs.astuple(row) for row in rows)
    return _csv(names, table) if form == "csv" else _xlsx(names, table)


def _csv(names: Sequence[str], table: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(names)
    writer.writerows(table)
    return text.getvalue().encode()


def _xlsx(names: Sequence[str], table: Iterable[Sequence[object]]) -> bytes:
    from openpyxl import Workbook  # of the test tools

    book = Workbook(write_only=True)
    page = book.create_sheet()
    page.append(names)
    for row in table:
        page.append(row)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def _fin(number: int) -> str:
    letters = ""
    for _ in range(7):
        number, at = divmod(number, len(_FIN_LETTERS))
        letters += _FIN_LETTERS[at]
    return letters


def main() -> None:
    """Write the file that the arguments ask for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.employees", description="Write a sheet of synthetic employees."
    )
    parser.add_argument("--rows", type=positive, required=True, metavar="N", help="employees to write")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same employees (default 1)")
    parser.add_argument("--format", choices=get_args(Format), help="default: by the file's name, else csv")
    parser.add_argument("--start", type=date.fromisoformat, default=datetime.now(UTC).date(), help="default: today")
    parser.add_argument("-o", dest="file", metavar="FILE", type=Path, required=True)
    arguments = parser.parse_args()
    rows = employees(arguments.rows, seed=arguments.seed, start=arguments.start)
    named = arguments.file.suffix[1:]
    form = arguments.format or (named if named in get_args(Format) else "csv")
    try:
        arguments.file.write_bytes(sheet(rows, form))
    except OSError as error:
        raise SystemExit(f"{arguments.file}: {error.strerror}") from None


if __name__ == "__main__":
    main()
