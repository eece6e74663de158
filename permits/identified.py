"""What an SMS says and whom it concerns: read once, where it comes in, and carried sealed to where it is decided.

Reading a text and hashing what it names costs as much as all else that a worker does for an SMS. What another release
of the grammar has read is not believed: GRAMMAR tells them apart.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from permits import documents, folding, partition, sms
from permits.messages import InboundSms, Lang
from permits.partition import Route
from permits.sms import Fault, Reading, read_each


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


def read_all(batch: Sequence[InboundSms], route: Route) -> list[Identified]:
    """Read SMS and find their owners."""
    readings = read_each([one.text for one in batch])
    by_document = iter(route.of_documents([said.document for said in readings if said.document is not None]))
    by_sender = route.of_senders([one.sender for one in batch])
    identified: list[Identified] = []
    for said, sender, digest in zip(readings, by_sender, route.identities(batch, by_sender), strict=True):
        at, owner = sender if said.document is None else next(by_document)
        identified.append(
            Identified(GRAMMAR, said.purpose, said.document, said.fault, said.lang, at, owner, *sender, digest)
        )
    return identified


def read_sms(one: InboundSms, route: Route) -> Identified:
    """As `read_all` of one."""
    return read_all((one,), route)[0]
