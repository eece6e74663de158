"""Which events of one partition may be under way: one an owner, in the order of the stream, so many in all.

Later events of an owner who has one under way are passed over, and read again when that one is settled: so one
person's trouble holds nobody else, and what waits needs no memory.
"""

from typing import Final

MOST: Final = 500
"""Events of one partition under way at once."""
_LAST: Final = (1 << 64) - 1


class Window:
    """The place in one outbox, and the owners with an event under way."""

    def __init__(self) -> None:
        self._after = (0, 0)
        self._under_way: dict[str, bytes] = {}
        self._behind: dict[str, bytes] = {}
        """First event of an owner that was passed over; only owners under way stand here."""

    @property
    def start(self) -> bytes:
        """Where to read on, as XRANGE takes it."""
        return b"(%d-%d" % self._after

    @property
    def is_full(self) -> bool:
        """Whether nothing more may be under way."""
        return len(self._under_way) >= MOST

    def offer(self, entry_id: bytes, owner: str) -> bool:
        """Take the next event in the stream's order; True where it is now under way."""
        self._after = _position(entry_id)
        standing = self._under_way.get(owner)
        if standing is None:
            self._under_way[owner] = entry_id
        elif standing != entry_id:
            self._behind.setdefault(owner, entry_id)
        return standing is None

    def skip(self, entry_id: bytes) -> None:
        """Pass what is not to be transmitted."""
        self._after = _position(entry_id)

    def settled(self, owner: str) -> None:
        """An owner's event is done with: their next may follow."""
        del self._under_way[owner]
        behind = self._behind.pop(owner, None)
        if behind is not None:
            self._read_again(behind)

    def left(self, owner: str) -> None:
        """An owner's event is not under way any more, and not done with: it is read again."""
        self._behind.pop(owner, None)
        self._read_again(self._under_way.pop(owner))

    def _read_again(self, entry_id: bytes) -> None:
        ms, sequence = _position(entry_id)
        before = (ms, sequence - 1) if sequence else (ms - 1, _LAST)
        self._after = min(self._after, before)


def _position(entry_id: bytes) -> tuple[int, int]:
    ms, _, sequence = entry_id.partition(b"-")
    return int(ms), int(sequence)
