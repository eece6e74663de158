"""What `up` shows: rates, outcomes, ages and the last replies; one screen on a terminal, plain lines elsewhere.

Reads counters, stream lengths and the ages of their heads, in one round trip a second.
"""

import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from redis.exceptions import ResponseError
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from lua.calls import Command
from lua.keys import PartitionKeys
from permits.calendar import day_name, local_day
from permits.messages import REPLY_DECODER
from permits.outcomes import APPROVED, NAME_OF, REASON_OF
from runtime.connection import Wire

LAST_REPLIES: Final = 6


class Figures(msgspec.Struct, frozen=True):
    """One look at the store."""

    at_s: float
    outcomes: dict[str, int]
    """Entries ended today (Baku), by outcome letter."""
    undecided: int
    unsent: int
    oldest_s: float
    """Age of the oldest SMS undecided or reply unsent; 0 where there is none."""

    @property
    def decided(self) -> int:
        """Decisions today: approvals and refusals."""
        return sum(times for letter, times in self.outcomes.items() if letter.islower())

    @property
    def approved(self) -> int:
        """Approvals today."""
        return self.outcomes.get(APPROVED, 0)


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
            verdict = "approved" if reply.reason is None else f"refused {reply.reason}"
            shown = f"{masked(reply.to)}  {verdict}  {reply.text}"
        self._replies.append(shown)
        return shown

    async def look(self) -> Figures:
        """Read the figures now."""
        now = time.time()
        today = day_name(local_day(int(now * 1000)))
        commands: list[Command] = []
        for keys in self._partitions:
            looks: list[Command] = [
                ["HGETALL", keys.counts(today)],
                ["XLEN", keys.inbound],
                ["XLEN", keys.replies],
                ["XRANGE", keys.inbound, "-", "+", "COUNT", 1],
                ["XRANGE", keys.replies, "-", "+", "COUNT", 1],
            ]
            commands += looks
        replies = await self._wire.call(*commands)
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise reply
        outcomes: dict[str, int] = {}
        heads: list[float] = []
        for at in range(0, len(replies), 5):
            _add(outcomes, replies[at])
            heads += [int(head[0][0].split(b"-")[0]) / 1000 for head in replies[at + 3 : at + 5] if head]
        figures = Figures(
            at_s=now,
            outcomes=outcomes,
            undecided=sum(replies[1::5]),
            unsent=sum(replies[2::5]),
            oldest_s=max(0.0, now - min(heads)) if heads else 0.0,
        )
        self._before, self._now = self._now, figures
        return figures

    @property
    def rate(self) -> float:
        """Decisions a second between the last two looks."""
        if self._before is None or self._now is None:
            return 0.0
        passed = self._now.at_s - self._before.at_s
        return max(0.0, (self._now.decided - self._before.decided) / passed) if passed > 0 else 0.0

    def line(self) -> str:
        """The figures in one line, for a log."""
        now = self._now
        if now is None:
            return "no figures yet"
        refused = ", ".join(f"{name} {times}" for name, times in _refusals(now))
        return (
            f"decided {now.decided} today ({self.rate:.0f}/s), approved {now.approved}, "
            f"refused {now.decided - now.approved}{f' ({refused})' if refused else ''}, "
            f"undecided {now.undecided}, unsent {now.unsent}, oldest {now.oldest_s:.1f} s"
        )

    def screen(self) -> RenderableType:
        """The figures as one screen."""
        now = self._now
        figures = Table.grid(padding=(0, 3))
        if now is not None:
            figures.add_row("decided today", f"{now.decided:,}", "rate", f"{self.rate:,.0f}/s")
            figures.add_row("approved", f"{now.approved:,}", "undecided", f"{now.undecided:,}")
            figures.add_row("refused", f"{now.decided - now.approved:,}", "unsent", f"{now.unsent:,}")
            figures.add_row("", "", "oldest", f"{now.oldest_s:.1f} s")
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


def _add(outcomes: dict[str, int], flat: list[Any]) -> None:
    """Add one partition's counters: fields are an outcome letter and a purpose."""
    for field, times in zip(flat[::2], flat[1::2], strict=True):
        letter = field[:1].decode()
        if field != b"id_reused" and letter in NAME_OF:
            outcomes[letter] = outcomes.get(letter, 0) + int(times)


def _refusals(figures: Figures) -> list[tuple[str, int]]:
    found = [(name, figures.outcomes[letter]) for letter, name in REASON_OF.items() if letter in figures.outcomes]
    return sorted(found, key=lambda row: -row[1])
