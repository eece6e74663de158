"""From one inbound entry to what the rules need to know of it: the second step of a lane.

Reads the entry's JSON and opens what is sealed of it; its text only where ingest has not read it so. Writes nothing.
"""

from typing import Final

import msgspec

from permits.calendar import DAY_MS, local_day
from permits.identified import GRAMMAR, Identified, read_sms
from permits.messages import INBOUND_DECODER, SEALED_DECODER, SEALED_MARK, InboundSms
from permits.partition import Route
from permits.sms import Reading
from runtime.day_keys import DayKeys
from runtime.keyring import UnsealedError
from runtime.sealing import opened_sms

EARLIEST_RECEIPT_MS: Final = 2 * DAY_MS
"""A gateway's time of receipt counts where it lies at most 48 hours before arrival ..."""
LATEST_RECEIPT_MS: Final = 120_000
"""... and at most two minutes after it."""
OLDEST_ARRIVAL_MS: Final = 3 * DAY_MS
"""Day records live at least that long; what is older is recorded as having arrived then."""


class UnreadableError(ValueError):
    """The entry is no SMS of ours; the message is the dead letter's reason."""


class Asked(msgspec.Struct, frozen=True, gc=False):
    """One SMS, read."""

    payload: bytes
    sms: InboundSms
    reading: Reading
    partition: int
    owner: bytes
    sender: bytes
    """Keyed hash of the phone."""
    sender_partition: int
    """Where the phone's own counts stand."""
    digest: bytes
    """Of the SMS's identity."""
    asked_ms: int
    """The moment whose Baku day counts for the quota."""
    arrived_ms: int
    asked_day: int
    arrival_day: int


def read_entry(payload: bytes | None, route: Route, now_ms: int, keys: DayKeys) -> Asked:
    """Decode and read one entry's `m`; UnreadableError where it is no SMS, UnreadDayKeyError as `DayKeys.of`."""
    if payload is None:
        raise UnreadableError("no field m")
    try:
        sms, identified = _decoded(payload, keys)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableError(f"not an inbound SMS: {error}") from None
    except UnsealedError as error:
        raise UnreadableError(str(error)) from None
    if identified is None or identified.grammar != GRAMMAR:
        identified = read_sms(sms, route)
    arrived_ms = min(max(sms.arrived_ms, now_ms - OLDEST_ARRIVAL_MS), now_ms + LATEST_RECEIPT_MS)
    received_ms = sms.received_ms
    if received_ms is None or not -EARLIEST_RECEIPT_MS <= received_ms - arrived_ms <= LATEST_RECEIPT_MS:
        received_ms = arrived_ms
    arrival_day = local_day(arrived_ms)
    return Asked(
        payload=payload,
        sms=sms,
        reading=identified.reading,
        partition=identified.partition,
        owner=identified.owner,
        sender=identified.sender,
        sender_partition=identified.sender_partition,
        digest=identified.digest,
        asked_ms=received_ms,
        arrived_ms=arrived_ms,
        asked_day=arrival_day if received_ms == arrived_ms else local_day(received_ms),
        arrival_day=arrival_day,
    )


def _decoded(payload: bytes, keys: DayKeys) -> tuple[InboundSms, Identified | None]:
    """The SMS of an entry, sealed by ingest and read there, or in clear from a program that appends by itself."""
    if SEALED_MARK not in payload:
        return INBOUND_DECODER.decode(payload), None
    return opened_sms(keys, SEALED_DECODER.decode(payload))
