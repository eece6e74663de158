"""What of a dead letter goes back, and where: or why nothing does.

Reads nothing but the letter, opened with the keys of the days.
"""

import time
from datetime import UTC, datetime
from typing import Final

import msgspec

from lua.dead import Return
from lua.keys import PartitionKeys
from permits.identified import read_sms
from permits.messages import (
    APPLICATION_DECODER,
    ENCODER,
    HELD_DECODER,
    INBOUND_DECODER,
    REPLY_DECODER,
    SEALED_DECODER,
    DeadLetter,
    InboundSms,
)
from permits.partition import Route
from runtime.day_keys import DayKeys, UnreadDayKeyError
from runtime.keyring import UnsealedError
from runtime.sealing import content_of, opened_letter, sealed_sms

ERASED: Final = "its text and sender are gone: the key of their day was erased"
NEVER_SENT: Final = ("unanswerable", "unreadable")
"""Beginnings of reasons for which no operator was ever asked."""
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)


class NotPutBackError(ValueError):
    """The letter stays where it is; the message says why."""


class _Known(msgspec.Struct):
    """What a letter tells of an SMS that cannot be read whole."""

    id: str | None = None
    source: str | None = None
    arrived_ms: int | None = None


def returned(
    letter: DeadLetter, keys: PartitionKeys, *, day_keys: DayKeys, route: Route, mended: bytes = b""
) -> Return:
    """What goes back; NotPutBackError. `mended` is the corrected SMS, JSON, in the place of one that cannot be read."""
    if mended and letter.kind != "inbound":
        raise NotPutBackError("--with corrects an SMS; this is no inbound one")
    if letter.kind == "inbound":
        return Return(keys.inbound, _sms(letter, day_keys, route, mended))
    if letter.kind == "reply":
        return Return(keys.replies, _reply(_opened(letter, day_keys)))
    if letter.kind == "application":
        return Return(keys.applications, _application(letter))
    if letter.kind == "held":
        return Return(keys.held, _held(letter), due_ms=time.time_ns() // 1_000_000)
    if letter.kind == "feed":
        raise NotPutBackError("its permit was settled with it: the employer changes or asks anew, which is a new event")
    raise NotPutBackError("the import's report tells which rows failed: the same upload again does them")


def _opened(letter: DeadLetter, day_keys: DayKeys) -> DeadLetter:
    try:
        return opened_letter(day_keys, letter)
    except UnreadDayKeyError:
        raise NotPutBackError(ERASED) from None
    except UnsealedError as error:
        raise NotPutBackError(str(error)) from None


def _sms(letter: DeadLetter, day_keys: DayKeys, route: Route, mended: bytes) -> bytes:
    """The inbound entry, sealed."""
    if mended:
        return _sealed(_mended(letter, day_keys, mended), day_keys, route)
    if letter.day is msgspec.UNSET:
        try:
            sms = SEALED_DECODER.decode(letter.raw)
            content_of(day_keys, sms)
        except UnreadDayKeyError:
            raise NotPutBackError(ERASED) from None
        except _UNREADABLE as error:
            raise NotPutBackError(f"cannot be read: {error}; give the corrected SMS with --with FILE") from None
        return ENCODER.encode(sms)
    try:
        sms = INBOUND_DECODER.decode(_opened(letter, day_keys).raw)
    except _UNREADABLE as error:
        if isinstance(error, NotPutBackError):
            raise
        raise NotPutBackError(f"no inbound SMS: {error}; give the corrected one with --with FILE") from None
    return _sealed(sms, day_keys, route)


def _mended(letter: DeadLetter, day_keys: DayKeys, mended: bytes) -> InboundSms:
    """The corrected SMS, of the same identity as far as the letter tells it."""
    try:
        sms = INBOUND_DECODER.decode(mended)
    except _UNREADABLE as error:
        raise NotPutBackError(f"the file is no inbound SMS: {error}") from None
    try:
        raw = opened_letter(day_keys, letter).raw
    except (UnreadDayKeyError, UnsealedError):
        raw = letter.raw  # what a sealed SMS tells in clear
    try:
        known = msgspec.json.decode(raw, type=_Known)
    except _UNREADABLE:
        known = _Known()
    for name in _Known.__struct_fields__:
        told, given = getattr(known, name), getattr(sms, name)
        if told is not None and told != given:
            raise NotPutBackError(f"the file's {name} is {given!r}, the letter's {told!r}: it must be the same SMS")
    return sms


def _sealed(sms: InboundSms, day_keys: DayKeys, route: Route) -> bytes:
    try:
        key = day_keys.at(sms.arrived_ms)
    except UnreadDayKeyError as error:
        raise NotPutBackError(f"{error}; its text may not rest in clear") from None
    return ENCODER.encode(sealed_sms(key, sms, read_sms(sms, route)))


def _reply(letter: DeadLetter) -> bytes:
    """The reply while it is worth sending, marked where it may have been sent."""
    try:
        reply = REPLY_DECODER.decode(letter.raw)
    except _UNREADABLE as error:
        raise NotPutBackError(f"not a reply: {error}") from None
    if _moment_s(reply.expires_at) <= time.time():
        raise NotPutBackError(f"not worth sending since {reply.expires_at}")
    if letter.reason.startswith(NEVER_SENT):
        return ENCODER.encode(reply)
    return ENCODER.encode(msgspec.structs.replace(reply, ambiguous=True))


def _moment_s(rfc3339: str) -> float:
    try:
        moment = datetime.fromisoformat(rfc3339)
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def _application(letter: DeadLetter) -> bytes:
    try:
        return ENCODER.encode(APPLICATION_DECODER.decode(letter.raw))
    except _UNREADABLE as error:
        raise NotPutBackError(f"not an application: {error}") from None


def _held(letter: DeadLetter) -> bytes:
    """The member as it was: its JSON, and the sealed number behind it."""
    text, _, seal = letter.raw.rpartition(" ")
    try:
        HELD_DECODER.decode(text)
        return text.encode() + bytes.fromhex(seal)
    except _UNREADABLE as error:
        raise NotPutBackError(f"no held approval: {error}") from None
