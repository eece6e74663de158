"""Entries of `outbox:{p}` as the index and the feed read them."""

from collections.abc import Sequence

import msgspec

from permits.messages import OUTBOX_DECODER, OutboxEvent


class Entry(msgspec.Struct, frozen=True):
    """One entry."""

    entry_id: bytes
    raw: bytes
    event: OutboxEvent | None
    """None where it cannot be read."""

    @property
    def text(self) -> str:
        """Its content for a dead letter; personal data in it is sealed."""
        return self.raw.decode("utf-8", "backslashreplace")


def entries(page: Sequence[tuple[bytes, Sequence[bytes]]]) -> list[Entry]:
    """The raw reply of an XRANGE, decoded."""
    return [_entry(entry_id, fields) for entry_id, fields in page]


def _entry(entry_id: bytes, fields: Sequence[bytes]) -> Entry:
    raw = dict(zip(fields[::2], fields[1::2], strict=True)).get(b"m", b"")
    try:
        return Entry(entry_id, raw, OUTBOX_DECODER.decode(raw))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Entry(entry_id, raw, None)
