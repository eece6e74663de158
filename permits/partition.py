"""Who owns an SMS, and so which partition decides it: frozen, since deduplication and quota rest on it.

The owner is the canonical document, or the sender where no document can be read. One keyed BLAKE2b of it gives
the partition and the eight bytes under which the owner's record stands; the key lives outside the store.
"""

import hashlib
import struct
from typing import Final

ROUTE_VERSION: Final = 1
"""Stored at first start; a change of canonical form or hash is another version and refuses to start."""
OWNER_BYTES: Final = 8
FIELD_BYTES: Final = 4
"""The first half of the owner key is the field of the day record; the second half stands in each of its entries."""


_parted = struct.Struct(">8sI").unpack
"""Owner key, and the number that gives the partition: a third of two slices and a conversion."""


class Route:
    """Maps documents and senders to (partition, owner key)."""

    def __init__(self, *, key: bytes, partitions: int) -> None:
        if not 16 <= len(key) <= 64:
            raise ValueError("the routing key needs 16 to 64 bytes")
        self.partitions = partitions
        self._document = hashlib.blake2b(b"d:", key=key, digest_size=12)
        self._sender = hashlib.blake2b(b"s:", key=key, digest_size=12)
        self._person = hashlib.blake2b(b"f:", key=key, digest_size=12)
        self._organisation = hashlib.blake2b(b"o:", key=key, digest_size=12)
        self._request = hashlib.blake2b(b"r:", key=key, digest_size=8)
        self._identity = hashlib.blake2b(b"i:", key=key, digest_size=4)
        self._text = hashlib.blake2b(b"t:", key=key, digest_size=2)
        self.fingerprint = hashlib.blake2b(b"fingerprint", key=key, digest_size=8).hexdigest()

    def of_document(self, document: str) -> tuple[int, bytes]:
        """Partition and 8-byte owner key of a canonical document."""
        h = self._document.copy()
        h.update(document.encode())
        owner, number = _parted(h.digest())
        return number % self.partitions, owner

    def of_sender(self, sender: str) -> tuple[int, bytes]:
        """Partition and 8-byte owner key of a phone number."""
        h = self._sender.copy()
        h.update(sender.encode("utf-8", "surrogatepass"))
        owner, number = _parted(h.digest())
        return number % self.partitions, owner

    def of_person(self, fin: str) -> tuple[int, bytes]:
        """Partition and 8-byte key of a person, by the canonical FIN."""
        return self._placed(self._person, fin)

    def of_organisation(self, tin: str) -> int:
        """Partition of an organisation."""
        return self._placed(self._organisation, tin)[0]

    def of_request(self, words: bytes) -> str:
        """Digest of a request, 16 hex digits: keyed, so that it may rest beside what it seals."""
        h = self._request.copy()
        h.update(words)
        return h.hexdigest()

    def _placed(self, keyed: "hashlib.blake2b", text: str) -> tuple[int, bytes]:
        h = keyed.copy()
        h.update(text.encode())
        owner, number = _parted(h.digest())
        return number % self.partitions, owner

    def owner(self, document: str | None, sender: str) -> tuple[int, bytes]:
        """Partition and owner key of an SMS: by its document where one can be read, else by its sender."""
        return self.of_sender(sender) if document is None else self.of_document(document)

    def identity(self, source: str, sender: str, sms_id: str, text: str, *, by_text: bool) -> bytes:
        """Six bytes: four of (source, sender, id), two of the text.

        The same id with another text agrees in the first four only: another SMS, counted as `id_reused`.
        Without an id the text stands in the id's place.
        """
        named = f"1{text}" if by_text else f"0{sms_id}"
        h = self._identity.copy()
        h.update(f"{source}\0{sender}\0{named}".encode("utf-8", "surrogatepass"))
        t = self._text.copy()
        t.update(text.encode("utf-8", "surrogatepass"))
        return h.digest() + t.digest()
