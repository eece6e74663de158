"""One page of what was measured: targets and what was seen, plots, and the conditions of every measurement.

Reads the JSON objects that measurements print, from files or standard input, one after the other in either. Writes
one HTML file that needs nothing else.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Final

import msgspec

from bench import plots
from bench.measurement import Measurement, Reached

STYLE: Final = Path(__file__).with_name("report.css")
OUTPUT: Final = Path(__file__).with_name("report.html")
GROUPS: Final = (
    ("Processor time a message, by role", "µs", re.compile(r"^(.*?)_?cpu_us_(\w+)$")),
    ("Processor time a message, and the server's by part", "µs", re.compile(r"^()((?:worker|server)\w*_us)$")),
    ("Share of the time", "of a core", re.compile(r"^()(\w+_(?:busy|queued))$")),
    ("Peak memory, by role", "MB", re.compile(r"^(.*?)_?peak_mb_(\w+)$")),
    ("Memory a message", "bytes", re.compile(r"^()(\w*bytes\w*)$")),
    ("Processor time of an answer", "µs", re.compile(r"^()(\w+_cpu_us)$")),
    ("A second, ours and others", "", re.compile(r"^()(\w+_per_s)$")),
)
"""Title, unit, and which figures and references belong together: (part of the measurement, name of the bar)."""
LATENCIES: Final = re.compile(r"^(.*?)_?(p50|p90|p99|p999|max)_ms$")


def configure(parser: argparse.ArgumentParser) -> None:
    """What is read, and where the page goes."""
    parser.add_argument("files", type=Path, nargs="*", metavar="FILE", help="JSON objects (default: standard input)")
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT, help="the page (default %(default)s)")
    parser.add_argument("--title", default="icaze: what was measured", help="of the page (default %(default)r)")


def run(arguments: argparse.Namespace) -> int:
    """0 where the page was written."""
    try:
        measured = [one for path in arguments.files for one in read(path.read_text(), str(path))]
        if not arguments.files:
            measured = list(read(sys.stdin.read(), "standard input"))
        arguments.output.write_text(page(measured, title=arguments.title, made=datetime.now(UTC)))
    except (OSError, ValueError, msgspec.ValidationError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 1
    print(arguments.output)
    return 0


def read(text: str, where: str) -> Iterator[Measurement]:
    """Every JSON object of a text; ValueError where one is none, or no measurement."""
    decoder, at = json.JSONDecoder(), 0
    while match := re.compile(r"\S").search(text, at):
        try:
            found, at = decoder.raw_decode(text, match.start())
            yield msgspec.convert(found, Measurement)
        except (ValueError, msgspec.ValidationError) as error:
            raise ValueError(f"{where}: {error}") from None


def page(measured: Iterable[Measurement], *, title: str, made: datetime) -> str:
    """The whole of it."""
    known = list(measured)
    sections = "".join(_section(one) for one in known)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE.read_text()}</style></head><body><main>"
        f"<header><h1>{escape(title)}</h1><p>made {made:%Y-%m-%d %H:%M} UTC of {len(known)} measurements</p></header>"
        f"{_overview(known)}{sections}</main></body></html>\n"
    )


def _overview(measured: Iterable[Measurement]) -> str:
    """All targets in one table."""
    rows = [f"<tr><td>{escape(one.measurement)}</td>{cells}</tr>" for one in measured for cells in _judged(one)]
    if not rows:
        return '<section><h2>Targets</h2><p class="none">no measurement names any</p></section>'
    return f"<section><h2>Targets</h2>{_table(('measurement', *_JUDGED), rows)}</section>"


_JUDGED: Final = ("what", "least", "aim", "seen", "verdict")


_VERDICTS: Final[dict[Reached | None, str]] = {
    "aim": '<span class="good">● meets the aim</span>',
    "least": '<span class="fair">◐ meets the least</span>',
    "short": '<span class="bad">▲ falls short</span>',
    None: '<span class="fair">○ not measured</span>',
}


def _judged(one: Measurement) -> Iterator[str]:
    """The cells of each target."""
    seen = one.figures | one.ratios
    for name, target in one.targets.items():
        shown = plots.told(seen[name]) if name in seen else "–"
        sign = "≥" if target.aim > target.least else "≤"
        least, aim = (f"{sign} {plots.told(wanted)}" for wanted in (target.least, target.aim))
        yield (
            f'<td>{escape(name)}</td><td class="n">{least}</td><td class="n">{aim}</td>'
            f'<td class="n">{shown}</td><td>{_VERDICTS[one.reached(name)]}</td>'
        )


def _section(one: Measurement) -> str:
    """One measurement: conditions first, since no figure means anything without them."""
    conditions = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(_said(value))}</dd></div>" for name, value in one.conditions.items()
    )
    judged = [f"<tr>{cells}</tr>" for cells in _judged(one)]
    targets = _table(_JUDGED, judged) if judged else ""
    pictures = "".join((*(plots.drawn(described) for described in one.plots), *_bars(one)))
    return (
        f"<section><h2>{escape(one.measurement)}</h2>"
        f"<dl>{conditions or '<p class=none>no conditions are told</p>'}</dl>"
        f"{targets and f'<h3>Targets</h3>{targets}'}"
        f'<div class="plots">{pictures}</div>{_figures(one)}</section>'
    )


def _bars(one: Measurement) -> Iterator[str]:
    """Figures that belong together, side by side with what they stand beside."""
    if one.ratios:
        marks = {name: target for name, target in one.targets.items() if name in one.ratios}
        yield plots.bars("Share of the reference", "", one.ratios, targets=marks)
    values, left = one.figures | one.references, dict(one.figures | one.references)
    for title, unit, wanted in GROUPS:
        parts: dict[str, dict[str, float]] = {}
        for name in list(left):
            if found := wanted.match(name):
                parts.setdefault(found[1], {})[found[2]] = left.pop(name)
        theirs = {found[2] for name in one.references if (found := wanted.match(name))}
        for part, group in parts.items():
            together = dict(sorted(group.items(), key=_beside)) if theirs else group
            marks = {} if part else {name: target for name, target in one.targets.items() if name in group}
            told = f"{part}: {title}" if part else title
            yield plots.bars(told, unit, together, targets=marks, references=theirs)
    if not any(described.get("kind") == "percentiles" for described in one.plots):
        waits = {name: value for name, value in values.items() if LATENCIES.match(name)}
        if waits:
            yield plots.bars("Latency", "ms", waits)


def _beside(item: tuple[str, float]) -> str:
    """Sorts a reference behind what it is the reference of."""
    return item[0].replace("_bare", "")


def _figures(one: Measurement) -> str:
    """Every number, for who wants it."""
    tables = "".join(
        f"<h3>{title}</h3>" + _table((title.lower(), "seen"), [_number(*item) for item in values.items()])
        for title, values in (("Figures", one.figures), ("References", one.references), ("Ratios", one.ratios))
        if values
    )
    return f'<details><summary>all figures</summary><div class="columns">{tables}</div></details>'


def _number(name: str, value: float) -> str:
    return f'<tr><td>{escape(name)}</td><td class="n">{plots.told(value)}</td></tr>'


def _table(heads: Iterable[str], rows: Iterable[str]) -> str:
    numbers = {"least", "aim", "seen"}
    head = "".join(f"<th{' class=n' if name in numbers else ''}>{escape(name)}</th>" for name in heads)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _said(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def main(words: list[str] | None = None) -> int:
    """Makes the page from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    configure(parser)
    return run(parser.parse_args(words))


if __name__ == "__main__":
    sys.exit(main())
