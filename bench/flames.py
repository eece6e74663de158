"""A flame graph of sampled stacks, and the functions that took most: by themselves, and with all that they call.

Used by `plots`. A stack is `outermost;…;innermost`; what took less than a pixel or so is left out.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Final
from zlib import crc32

WIDTH: Final = 1160
ROW: Final = 17
LEAST: Final = 0.002
"""Share of all samples that is still drawn."""
LETTER: Final = 6.2
"""Width of one, about."""
TOP: Final = 18
"""Functions of the list."""
COLOURS: Final = 6
TRUNK: Final = 0.95
"""Share of all stacks that begin with a function which is left out."""

Samples = Sequence[tuple[list[str], int]]
"""(outermost to innermost, how often)"""


def drawn(stacks: Mapping[str, int]) -> str:
    """The graph where there is more than one storey, and the list."""
    samples = _without_trunk([(stack.split(";"), count) for stack, count in stacks.items()])
    graph = _graph(samples) if any(len(stack) > 1 for stack, _ in samples) else ""
    return graph + _top(samples)


def _without_trunk(samples: Samples) -> Samples:
    """How it came to run at all, the same in nearly all stacks, tells nobody where the time goes."""
    total = sum(count for _, count in samples)
    while True:
        begin = Counter[str]()
        for stack, count in samples:
            if len(stack) > 1:
                begin[stack[0]] += count
        trunk = next((name for name, count in begin.items() if count >= TRUNK * total), None)
        if trunk is None:
            return samples
        samples = [(stack[1:] if len(stack) > 1 and stack[0] == trunk else stack, count) for stack, count in samples]


def _graph(samples: Samples) -> str:
    total = sum(count for _, count in samples)
    parts = list(_blocks(samples, 0, 0.0, total))
    height = (max(depth for depth, _ in parts) + 1) * ROW
    return (
        f'<svg class="flames" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="flame graph">'
        f"{''.join(part for _, part in parts)}</svg>"
    )


def _blocks(samples: Samples, depth: int, left: float, total: int) -> Iterator[tuple[int, str]]:
    """(depth, block) of each function at this depth and all that it calls."""
    callers: dict[str, list[tuple[list[str], int]]] = {}
    for stack, count in samples:
        if len(stack) > depth:
            callers.setdefault(stack[depth], []).append((stack, count))
    for name, below in sorted(callers.items()):
        share = sum(count for _, count in below) / total
        if share >= LEAST:
            yield depth, _block(name, share, depth, left)
            yield from _blocks(below, depth + 1, left, total)
        left += share * WIDTH


def _block(name: str, share: float, depth: int, left: float) -> str:
    width, y = share * WIDTH, depth * ROW
    colour = crc32(name.rpartition(" ")[2].encode()) % COLOURS  # a file's functions look alike
    room = int(width / LETTER) - 1
    label = name if len(name) <= room else f"{name[: room - 1]}…" if room > 3 else ""
    text = f'<text x="{left + 3:.1f}" y="{y + 12}">{escape(label)}</text>' if label else ""
    return (
        f'<g><title>{escape(name)}, {share:.1%}</title><rect class="c{colour}" x="{left:.1f}" y="{y}" '
        f'width="{max(width - 0.5, 0.5):.1f}" height="{ROW - 1}"/>{text}</g>'
    )


def _top(samples: Samples) -> str:
    own, below = Counter[str](), Counter[str]()
    for stack, count in samples:
        own[stack[-1]] += count
        below.update(dict.fromkeys(stack, count))  # a function that calls itself counts once
    total = own.total()
    tables = (
        f"<table><thead><tr><th>{title}</th><th class=n>share</th></tr></thead><tbody>"
        + "".join(
            f'<tr><td>{escape(name)}</td><td class="n">{count / total:.1%}</td></tr>'
            for name, count in counted.most_common(TOP)
        )
        + "</tbody></table>"
        for title, counted in (("by itself", own), ("with all below", below))
        if counted is own or own != below
    )
    return f'<div class="tops">{"".join(tables)}</div><p class="legend">{total:,} samples</p>'
