"""From one inbound entry to what the rules need to know of it: the second step of a lane.

Reads the entry's JSON and opens what is sealed of it; its text only where ingest has not read it so. Writes nothing.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from permits.calendar import DAY_MS, day_start_ms, local_day
from permits.identified import GRAMMAR, Identified, read_sms
from permits.messages import INBOUND_DECODER, SEALED_DECODER, SEALED_MARK, InboundSms, SealedSms
from permits.partition import Route
from runtime.day_keys import DayKeys, UnreadDayKeyError
from runtime.keyring import UnsealedError
from runtime.sealing import content_of, contents_of, opened_sms

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
    sms: InboundSms | SealedSms
    """As it stands on the stream."""
    phone: str
    text: str
    says: Identified
    asked_ms: int
    """The moment whose Baku day counts for the quota."""
    arrived_ms: int
    asked_day: int
    arrival_day: int


class Reader:
    """Reads the entries of one batch."""

    def __init__(self, route: Route, keys: DayKeys, now_ms: int) -> None:
        self._route = route
        self._keys = keys
        self._earliest_ms = now_ms - OLDEST_ARRIVAL_MS
        self._latest_ms = now_ms + LATEST_RECEIPT_MS
        self._today = local_day(now_ms)
        self._midnight_ms = day_start_ms(self._today)
        self._next_midnight_ms = day_start_ms(self._today + 1)

    def read_all(
        self, payloads: Sequence[bytes | None], *, keys_are_read: bool = False
    ) -> Sequence[Asked | UnreadableError]:
        """Each entry read, or why it cannot be; UnreadDayKeyError as `DayKeys.of`.

        With `keys_are_read` the keys were read after the entries were: what needs one that is not among them cannot be
        read any more.
        """
        at_once = self._at_once(payloads)
        return [self._or_why(one, keys_are_read) for one in payloads] if at_once is None else at_once

    def _at_once(self, payloads: Sequence[bytes | None]) -> list[Asked] | None:
        """What ingest stored, which is nearly all there is, costs a fifth less so than one by one; None where something
        is the matter with one of them."""
        try:
            entries = [SEALED_DECODER.decode(payload or b"") for payload in payloads]
            contents = contents_of(self._keys, entries)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, UnsealedError, UnreadDayKeyError):
            return None
        found: list[Asked] = []
        for payload, sms, (phone, text, says) in zip(payloads, entries, contents, strict=True):
            if payload is None or says.grammar != GRAMMAR:
                return None
            found.append(self._asked(payload, sms, phone, text, says))
        return found

    def _or_why(self, payload: bytes | None, keys_are_read: bool) -> Asked | UnreadableError:
        try:
            return self.read(payload)
        except UnreadableError as error:
            return error
        except UnreadDayKeyError:
            if not keys_are_read:
                raise
            return UnreadableError("text and sender are gone: the key of their day was erased")

    def read(self, payload: bytes | None) -> Asked:
        """Decode and read one entry's `m`; UnreadableError where it is no SMS, UnreadDayKeyError as `DayKeys.of`."""
        if payload is None:
            raise UnreadableError("no field m")
        try:
            if SEALED_MARK in payload:  # by ingest, which has read it too
                sms = SEALED_DECODER.decode(payload)
                phone, text, says = content_of(self._keys, sms)
                if says.grammar != GRAMMAR:
                    says = read_sms(opened_sms(self._keys, sms), self._route)
            else:  # in clear, from a program that appends by itself
                sms = INBOUND_DECODER.decode(payload)
                phone, text, says = sms.sender, sms.text, read_sms(sms, self._route)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UnreadableError(f"not an inbound SMS: {error}") from None
        except UnsealedError as error:
            raise UnreadableError(str(error)) from None
        return self._asked(payload, sms, phone, text, says)

    def _asked(self, payload: bytes, sms: InboundSms | SealedSms, phone: str, text: str, says: Identified) -> Asked:
        arrived_ms = sms.arrived_ms
        if not self._earliest_ms <= arrived_ms <= self._latest_ms:
            arrived_ms = min(max(arrived_ms, self._earliest_ms), self._latest_ms)
        received_ms = sms.received_ms
        if received_ms is None or not -EARLIEST_RECEIPT_MS <= received_ms - arrived_ms <= LATEST_RECEIPT_MS:
            received_ms = arrived_ms
        arrival_day = self._day_of(arrived_ms)
        asked_day = arrival_day if received_ms == arrived_ms else self._day_of(received_ms)
        return Asked(payload, sms, phone, text, says, received_ms, arrived_ms, asked_day, arrival_day)

    def _day_of(self, at_ms: int) -> int:
        """Nearly always today, which spares a third of a microsecond."""
        return self._today if self._midnight_ms <= at_ms < self._next_midnight_ms else local_day(at_ms)
