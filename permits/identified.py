"""What an SMS says and whom it concerns: read once, where it comes in, and carried sealed to where it is decided.

Reading a text and hashing what it names costs as much as all else that a worker does for an SMS. What another release
of the grammar has read is not believed: GRAMMAR tells them apart.
"""

import hashlib
from pathlib import Path
from typing import Final

import msgspec

from permits import documents, folding, partition, sms
from permits.messages import InboundSms, Lang
from permits.partition import Route
from permits.sms import Fault, Reading, read


def _fingerprint() -> str:
    sources = (Path(str(module.__file__)).read_bytes() for module in (sms, documents, folding, partition))
    return hashlib.blake2b(b"\0".join(sources), digest_size=4).hexdigest()


GRAMMAR: Final = _fingerprint()
"""Of the source that reads texts and makes keys of what they name."""


class Identified(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One SMS, read."""

    grammar: str
    purpose: int | None
    document: str | None
    fault: Fault | None
    lang: Lang
    partition: int
    owner: bytes
    """Keyed hash of the document, else of the phone."""
    sender_partition: int
    """Where the phone's own counts stand."""
    sender: bytes
    """Keyed hash of the phone."""
    digest: bytes
    """Of the SMS's identity, 6 bytes."""

    @property
    def reading(self) -> Reading:
        """As the grammar says it."""
        return Reading(self.purpose, self.document, self.fault, self.lang)


def read_sms(one: InboundSms, route: Route) -> Identified:
    """Read an SMS and find its owner."""
    reading = read(one.text)
    by_sender = route.of_sender(one.sender)
    at, owner = by_sender if reading.document is None else route.of_document(reading.document)
    digest = route.identity(one.source, one.sender, one.id, one.text, by_text=one.by_text)
    return Identified(
        GRAMMAR, reading.purpose, reading.document, reading.fault, reading.lang, at, owner, *by_sender, digest
    )
