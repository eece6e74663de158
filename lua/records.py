"""The bytes of a day record: entries of 22 bytes, one a decision (layout in `record.lua`).

The worker packs what it knows beforehand (`calls.message`, `timing`), the function adds the outcome letter; `entries`
reads them back.
"""

import struct
from typing import Final

import msgspec

from permits.outcomes import APPROVED, CANCELLATIONS, GRANTED, HELD, REASON_OF

RECORDS_VERSION: Final = 2
"""Of this layout; a store keeps the one it was made with."""
ENTRY_BYTES: Final = 22
SENDER_BYTES: Final = 2
"""Of a phone's keyed hash: enough to tell the phones apart that ask for one document."""
MAX_DELAY_S: Final = (1 << 18) - 1
"""A decision three days after arrival is as late as an entry can say."""

_ENTRY: Final = struct.Struct(">4s6sII2sBc")


def timing(arrived_s: int, decided_s: int, minutes: int, days_to_arrival: int) -> int:
    """The packed word: delay of the decision in s (18 bits), minutes (12 bits, 0: no end), quota day (2 bits).

    `days_to_arrival` is the day of arrival less the quota's day, -1 to 2.
    """
    delay = decided_s - arrived_s
    if not 0 <= delay <= MAX_DELAY_S:  # once a message: min and max would cost more than the rest
        delay = min(max(delay, 0), MAX_DELAY_S)
    return delay << 14 | minutes << 2 | days_to_arrival + 1


class RecordEntry(msgspec.Struct, frozen=True, gc=False):
    """One decision as the store keeps it."""

    tag: bytes
    digest: bytes
    arrived_s: int
    decided_s: int
    minutes: int
    """0: no end."""
    days_to_arrival: int
    sender: bytes
    """The first bytes of the phone's keyed hash."""
    purpose: int
    letter: str

    @property
    def approved(self) -> bool:
        """Whether this is a permit that was told."""
        return self.letter == APPROVED

    @property
    def waiting(self) -> bool:
        """Whether this is an approval that is held back until `decided_s`."""
        return self.letter == HELD

    @property
    def granted(self) -> bool:
        """Whether this was approved, whatever became of the permit."""
        return self.letter in GRANTED

    @property
    def cancels(self) -> bool:
        """Whether this is an SMS that has cancelled a permit."""
        return self.letter in CANCELLATIONS

    @property
    def refused(self) -> bool:
        """Whether this is a refusal."""
        return self.letter in REASON_OF


def entries(value: bytes, tag: bytes | None = None) -> list[RecordEntry]:
    """All entries of a record, or those of one owner (tag: bytes 4 to 8 of the owner key)."""
    if len(value) % ENTRY_BYTES:
        raise ValueError(f"a record of {len(value)} bytes does not divide into entries of {ENTRY_BYTES}")
    found: list[RecordEntry] = []
    for owner_tag, digest, arrived_s, packed, sender, purpose, letter in _ENTRY.iter_unpack(value):
        if tag is None or owner_tag == tag:
            found.append(
                RecordEntry(  # by place: names would cost as much as the rest
                    owner_tag,
                    digest,
                    arrived_s,
                    arrived_s + (packed >> 14),
                    packed >> 2 & 0xFFF,
                    (packed & 3) - 1,
                    sender,
                    purpose,
                    letter.decode("ascii"),
                )
            )
    return found
