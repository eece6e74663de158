"""Plots as inline SVG: lines over time or sizes, percentiles over the nines, and bars with marks to be reached.

Used by `report`. Text is escaped here; colours are classes, so that the page's style says what they look like.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from html import escape
from math import ceil, floor, isfinite, log10
from types import MappingProxyType
from typing import Any, Final

import msgspec

from bench import flames
from bench.measurement import Target

WIDTH: Final = 560
HEIGHT: Final = 240
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 24, 40
"""Margins in the units of the drawing."""
BAR: Final = 26
LABELS: Final = 190
COLOURS: Final = 6
"""Classes `c0` to `c5`."""
NINES: Final = ((0.0, "0"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %"))
MAX_AT: Final = 4.6
"""Where the longest of all is drawn, in nines: a share of one has no end of them."""

Points = Sequence[tuple[float, float]]


class Plot(msgspec.Struct, kw_only=True):
    """As a measurement describes one."""

    title: str
    kind: str
    x: str = ""
    y: str = ""
    lines: dict[str, list[tuple[float, float]]] = {}
    bars: dict[str, float] = {}
    stacks: dict[str, int] = {}


def drawn(described: Mapping[str, Any]) -> str:
    """A plot that a measurement describes; ValidationError where it cannot be read."""
    plot = msgspec.convert(described, Plot)
    if plot.stacks:
        return figure(plot.title, flames.drawn(plot.stacks), wide=True)
    if plot.bars:
        return bars(plot.title, plot.y, plot.bars)
    lines = {name: points for name, points in plot.lines.items() if points}
    if not lines:
        return figure(plot.title, '<p class="none">nothing was seen</p>')
    svg = {"percentiles": _percentiles, "sizes": _sizes}.get(plot.kind, _lines)(plot, lines)
    return figure(plot.title, svg + _legend(lines))


def figure(title: str, inside: str, *, wide: bool = False) -> str:
    """What is drawn, under its title."""
    named = '<figure class="all">' if wide else "<figure>"
    return f"{named}<figcaption>{escape(title)}</figcaption>{inside}</figure>"


def bars(
    title: str,
    unit: str,
    values: Mapping[str, float],
    *,
    targets: Mapping[str, Target] = MappingProxyType({}),
    references: Container[str] = (),
) -> str:
    """Horizontal bars, the largest value at full length; a target's least and aim stand as marks across them."""
    top = max((*values.values(), *(max(t.least, t.aim) for n, t in targets.items() if n in values)), default=0) or 1
    room = WIDTH - LABELS - 76
    parts: list[str] = []
    for number, (name, value) in enumerate(values.items()):
        y = number * BAR
        colour = "c1" if name in references else "c0"
        length = max(1.0, room * max(value, 0.0) / top)
        label = name if len(name) <= 30 else f"{name[:29]}…"
        parts.append(f'<text class="name" x="{LABELS - 8}" y="{y + 14}">{escape(label)}</text>')
        parts.append(f'<rect class="{colour}" x="{LABELS}" y="{y + 2}" width="{length:.1f}" height="16" rx="2"/>')
        far = LABELS + length
        if name in targets:
            for kind, mark in (("least", targets[name].least), ("aim", targets[name].aim)):
                x = LABELS + room * mark / top
                far = max(far, x)
                parts.append(
                    f'<path class="{kind}" d="M{x:.1f} {y - 1}V{y + 21}"><title>{kind} {mark:g}</title></path>'
                )
        parts.append(f'<text class="value" x="{far + 6:.1f}" y="{y + 14}">{told(value)}</text>')
    height = len(values) * BAR + 4
    keys = {"least": "least", "aim": "aim"} if targets else {}
    if any(name in references for name in values):
        keys |= {"c0": "ours", "c1": "reference"}
    legend = "".join(f'<i class="{kind}"></i>{name} ' for kind, name in keys.items())
    shown = _svg(title, height, parts) + (f'<p class="legend">{legend}</p>' if legend else "")
    return figure(f"{title}, {unit}" if unit else title, shown)


def told(value: float) -> str:
    """A number as people read it."""
    if not isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}".replace(",", "\u202f")
    digits = max(0, 2 - floor(log10(abs(value))))
    text = f"{value:,.{digits}f}".replace(",", "\u202f")
    return text.rstrip("0").rstrip(".") if digits else text


def _lines(plot: Plot, lines: Mapping[str, Points]) -> str:
    xs = [x for points in lines.values() for x, _ in points]
    ys = [y for points in lines.values() for _, y in points]
    left, right = min(0.0, *xs), max(xs)
    right = right if right > left else left + 1
    y_ticks = _ticks(max(ys))
    top = y_ticks[-1]

    def at(x: float, y: float) -> tuple[float, float]:
        return _x((x - left) / (right - left)), _y(y / top)

    parts = _grid([(_y(tick / top), told(tick)) for tick in y_ticks], plot.y)
    parts += [
        _x_label(_x((tick - left) / (right - left)), told(tick)) for tick in _ticks(right) if left <= tick <= right
    ]
    parts += [_path(number, [at(x, y) for x, y in points]) for number, points in enumerate(lines.values())]
    return _svg(plot.title, HEIGHT, [*parts, _x_title(plot.x)])


def _sizes(plot: Plot, lines: Mapping[str, Points]) -> str:
    """Values of a few sizes that are some times apart; flat is what scales."""
    sizes = sorted({x for points in lines.values() for x, _ in points})
    low, high = log10(sizes[0]), log10(sizes[-1])
    wide = high - low or 1.0
    y_ticks = _ticks(max(y for points in lines.values() for _, y in points))

    def at(x: float, y: float) -> tuple[float, float]:
        return _x(0.04 + 0.92 * (log10(x) - low) / wide), _y(y / y_ticks[-1])

    parts = _grid([(at(sizes[0], tick)[1], told(tick)) for tick in y_ticks], plot.y)
    parts += [_x_label(at(size, 0)[0], told(size)) for size in sizes]
    for number, points in enumerate(lines.values()):
        places = [at(x, y) for x, y in points]
        parts.append(_path(number, places))
        parts += [f'<circle class="line c{number % COLOURS}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places]
    return _svg(plot.title, HEIGHT, [*parts, _x_title(plot.x)])


def _percentiles(plot: Plot, lines: Mapping[str, Points]) -> str:
    """Milliseconds on a logarithmic axis over the number of nines: where the tail begins is what is looked for."""
    ys = [y for points in lines.values() for _, y in points if y > 0] or [1.0]
    low, high = floor(log10(min(ys))), ceil(log10(max(ys)))
    high = high if high > low else low + 1

    def at(share: float, y: float) -> tuple[float, float]:
        return _x(_nines(share) / MAX_AT), _y((log10(max(y, 10.0**low)) - low) / (high - low))

    ticks = [(at(0, 10.0**power)[1], told(10.0**power)) for power in range(low, high + 1)]
    parts = _grid(ticks, plot.y)
    parts += [_x_label(_x(_nines(share) / MAX_AT), label) for share, label in (*NINES, (1.0, "max"))]
    parts += [_path(number, [at(x, y) for x, y in points]) for number, points in enumerate(lines.values())]
    return _svg(plot.title, HEIGHT, [*parts, _x_title(plot.x)])


def _nines(share: float) -> float:
    return MAX_AT if share >= 1 else min(MAX_AT, -log10(1 - share))


def _x(part: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * part


def _y(part: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * part


def _ticks(top: float) -> list[float]:
    """About four round numbers from nought to the first at or above `top`."""
    if top <= 0:
        return [0.0, 1.0]
    rough = top / 4
    power = 10.0 ** floor(log10(rough))
    step = next(times * power for times in (1, 2, 2.5, 5, 10) if times * power >= rough * 0.999)
    return [step * number for number in range(ceil(round(top / step, 6)) + 1)]


def _grid(ticks: Iterable[tuple[float, str]], unit: str) -> list[str]:
    parts = [f'<text class="unit" x="{LEFT - 6}" y="11">{escape(unit)}</text>']
    for y, label in ticks:
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}">{escape(label)}</text>')
    return parts


def _x_label(x: float, label: str) -> str:
    return f'<text class="at" x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}">{escape(label)}</text>'


def _x_title(text: str) -> str:
    return f'<text class="at" x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 6}">{escape(text)}</text>'


def _path(number: int, points: Iterable[tuple[float, float]]) -> str:
    d = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path class="line c{number % COLOURS}" d="M{d}"/>'


def _legend(lines: Iterable[str]) -> str:
    keys = (f'<i class="c{number % COLOURS}"></i>{escape(name)} ' for number, name in enumerate(lines))
    return f'<p class="legend">{"".join(keys)}</p>'


def _svg(title: str, height: float, parts: Iterable[str]) -> str:
    inside = "".join(parts)
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">{inside}</svg>'
