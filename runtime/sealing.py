"""What rests under a day's key: text and phone of an SMS until it is decided, and what a dead letter held.

Each is bound to its place by the cipher: what was altered, or moved to another message, does not open.
"""

import base64
import struct
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from permits.identified import Identified
from permits.messages import ENCODER, SEALED_DECODER, DeadLetter, InboundSms, SealedSms
from runtime.day_keys import DayKey, DayKeys
from runtime.keyring import UnsealedError

_PACK: Final = msgspec.msgpack.Encoder()
_CONTENT: Final = msgspec.msgpack.Decoder(tuple[str, str, Identified])
"""Nobody reads what is sealed: packed, it is a third shorter than as JSON."""
_CONTENTS: Final = msgspec.msgpack.Decoder(list[tuple[str, str, Identified]])
_ARRAY: Final = struct.Struct(">BI").pack
_ARRAY_32: Final = 0xDD
"""MessagePack's mark of an array whose length follows in four bytes."""


def sealed_each(key: DayKey, batch: Sequence[InboundSms], identified: Sequence[Identified]) -> list[SealedSms]:
    """SMS as ingest stores them."""
    contents: list[tuple[bytes, bytes]] = []
    for sms, says in zip(batch, identified, strict=True):
        contents.append((_PACK.encode((sms.sender, sms.text, says)), _sms_place(sms.source, sms.id)))
    entries: list[SealedSms] = []
    for sms, sealed in zip(batch, key.seal_each(contents), strict=True):
        entries.append(
            SealedSms(
                id=sms.id,
                source=sms.source,
                to=sms.to,
                arrived_ms=sms.arrived_ms,
                received_ms=sms.received_ms,
                by_text=sms.by_text,
                trace=sms.trace,
                channel=sms.channel,
                day=key.day,
                sealed=sealed,
            )
        )
    return entries


def sealed_sms(key: DayKey, sms: InboundSms, identified: Identified) -> SealedSms:
    """As `sealed_each` of one."""
    return sealed_each(key, (sms,), (identified,))[0]


def content_of(keys: DayKeys, entry: SealedSms) -> tuple[str, str, Identified]:
    """Phone, text and what ingest read of an SMS; UnreadDayKeyError, UnsealedError where it is not as it was stored."""
    key = keys.known.get(entry.day) or keys.of(entry.day)
    return _CONTENT.decode(key.open(entry.sealed, _sms_place(entry.source, entry.id)))


def contents_of(keys: DayKeys, entries: Sequence[SealedSms]) -> list[tuple[str, str, Identified]]:
    """As `content_of` of each, in half the time; raises where it does for one of them."""
    known = keys.known
    opened = [
        (known.get(entry.day) or keys.of(entry.day)).open(entry.sealed, _sms_place(entry.source, entry.id))
        for entry in entries
    ]
    return _CONTENTS.decode(_ARRAY(_ARRAY_32, len(opened)) + b"".join(opened))


def opened_sms(keys: DayKeys, entry: SealedSms) -> InboundSms:
    """The SMS that ingest took; raises as `content_of`."""
    sender, text, _ = content_of(keys, entry)
    return InboundSms(
        id=entry.id,
        source=entry.source,
        sender=sender,
        to=entry.to,
        text=text,
        arrived_ms=entry.arrived_ms,
        received_ms=entry.received_ms,
        by_text=entry.by_text,
        trace=entry.trace,
        channel=entry.channel,
    )


def sealed_letter(key: DayKey, letter: DeadLetter) -> DeadLetter:
    """A letter whose raw content may hold a text or a phone, as it is stored."""
    sealed = key.seal(letter.raw.encode(), _letter_place(letter))
    return replace(letter, raw=base64.b64encode(sealed).decode(), day=key.day)


def is_sealed(letter: DeadLetter) -> bool:
    """Whether the content of a letter can be read only with the key of its day."""
    return letter.day is not msgspec.UNSET or _entry(letter) is not None


def opened_letter(keys: DayKeys, letter: DeadLetter) -> DeadLetter:
    """The letter with its content to be read; raises as `content_of`."""
    if letter.day is not msgspec.UNSET:
        raw = keys.of(letter.day).open(_unarmoured(letter.raw), _letter_place(letter)).decode()
        return replace(letter, raw=raw, day=msgspec.UNSET)
    entry = _entry(letter)
    return letter if entry is None else replace(letter, raw=ENCODER.encode(opened_sms(keys, entry)).decode())


def _entry(letter: DeadLetter) -> SealedSms | None:
    """What ingest had sealed already, and stands so in the letter."""
    try:
        return SEALED_DECODER.decode(letter.raw) if letter.kind == "inbound" else None
    except msgspec.DecodeError:
        return None


def _unarmoured(raw: str) -> bytes:
    try:
        return base64.b64decode(raw, validate=True)
    except ValueError:
        raise UnsealedError("not base64") from None


def _sms_place(source: str, sms_id: str) -> bytes:
    return f"sms {source}\0{sms_id}".encode()


def _letter_place(letter: DeadLetter) -> bytes:
    return f"dead {letter.kind} {letter.entry_id}".encode()
