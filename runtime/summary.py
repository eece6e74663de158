"""What `up` shows: rates, outcomes, ages and the last replies; one screen on a terminal, plain lines elsewhere."""

import time
from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from lua.keys import PartitionKeys
from permits.messages import REPLY_DECODER
from permits.outcomes import REASON_OF
from runtime.connection import Wire
from runtime.figures import Figures, look, rates

LAST_REPLIES: Final = 6


class Summary:
    """Keeps the last look and the last replies, and draws them."""

    def __init__(self, wire: Wire, partitions: Sequence[PartitionKeys], doors: Sequence[tuple[str, str]]) -> None:
        self._wire = wire
        self._partitions = partitions
        self._doors = doors
        self._before: Figures | None = None
        self._now: Figures | None = None
        self._replies: deque[str] = deque(maxlen=LAST_REPLIES)

    def reply(self, line: bytes) -> str:
        """Take a line of the dispatcher: a reply, shown without the full phone number, or a notice."""
        try:
            reply = REPLY_DECODER.decode(line)
        except msgspec.DecodeError:
            shown = line.decode(errors="replace")
        else:
            verdict = reply.verdict if reply.reason is None else f"{reply.verdict} {reply.reason}"
            shown = f"{masked(reply.to)}  {verdict}  {reply.text}"
        self._replies.append(shown)
        return shown

    async def look(self) -> Figures:
        """Read the figures now."""
        now = await look(self._wire, self._partitions, now_ms=time.time_ns() // 1_000_000)
        self._before, self._now = self._now, now
        return now

    @property
    def rate(self) -> float:
        """Decisions a second between the last two looks."""
        if self._before is None or self._now is None:
            return 0.0
        return rates(self._before, self._now).decided_per_s

    def line(self) -> str:
        """The figures in one line, for a log."""
        now = self._now
        if now is None:
            return "no figures yet"
        refused = ", ".join(f"{name} {times}" for name, times in _refusals(now))
        return (
            f"decided {now.decided} today ({self.rate:.0f}/s), approved {now.approved}, "
            f"refused {now.refused}{f' ({refused})' if refused else ''}, cancelled {now.cancelled}, "
            f"undecided {now.undecided.length}, unsent {now.unsent.length}, held {now.held.length}, "
            f"oldest {_oldest_s(now):.1f} s"
        )

    def screen(self) -> RenderableType:
        """The figures as one screen."""
        now = self._now
        figures = Table.grid(padding=(0, 3))
        if now is not None:
            figures.add_row("decided today", f"{now.decided:,}", "rate", f"{self.rate:,.0f}/s")
            figures.add_row("approved", f"{now.approved:,}", "undecided", f"{now.undecided.length:,}")
            figures.add_row("refused", f"{now.refused:,}", "unsent", f"{now.unsent.length:,}")
            figures.add_row("cancelled", f"{now.cancelled:,}", "held back", f"{now.held.length:,}")
            figures.add_row("", "", "oldest", f"{_oldest_s(now):.1f} s")
        refusals = Table.grid(padding=(0, 3))
        for name, times in [] if now is None else _refusals(now):
            refusals.add_row(name, f"{times:,}")
        doors = Table.grid(padding=(0, 3))
        for name, address in self._doors:
            doors.add_row(name, address)
        replies = Text("\n".join(self._replies) or "none yet", overflow="ellipsis", no_wrap=True)
        return Group(
            Panel(doors, title="icaze", subtitle="Ctrl-C stops"),
            Panel(figures, title="today"),
            Panel(refusals, title="refused, by reason"),
            Panel(replies, title="last replies"),
        )


def masked(phone: str) -> str:
    """A phone number as it may be shown: the country and operator, and the last two digits."""
    return f"{phone[:6]}***{phone[-2:]}" if len(phone) > 8 else "***"


def _refusals(figures: Figures) -> list[tuple[str, int]]:
    letters = figures.by_letter
    found: list[tuple[str, int]] = [(name, letters[letter]) for letter, name in REASON_OF.items() if letter in letters]
    return sorted(found, key=lambda row: -row[1])


def _oldest_s(figures: Figures) -> float:
    """Age of the oldest SMS undecided or reply unsent."""
    return max(figures.undecided.oldest_s, figures.unsent.oldest_s)
