"""Who owns an SMS, and so which partition decides it: frozen, since deduplication and quota rest on it.

The owner is the canonical document, or the sender where no document can be read. Its name, enciphered as one block of
AES, gives the partition and the eight bytes under which the owner's record stands; the key lives outside the store.
"""

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from permits.messages import InboundSms

ROUTE_VERSION: Final = 3
"""Stored at first start; a change of canonical form or hash is another version and refuses to start."""
OWNER_BYTES: Final = 8
FIELD_BYTES: Final = 4
"""The first half of the owner key is the field of the day record; the second half stands in each of its entries."""
_BLOCK: Final = 16
"""Bytes; every document and every phone number fits."""
_PARTED: Final = struct.Struct(">8sI4x")
"""Of a block: owner key, and the number that gives the partition."""
_IDENTITY: Final = struct.Struct(">8s4sI8x4sI")
"""Two blocks: sender's key, source's, checksum of the id; checksum of the text, marked as one."""
_DIGESTS: Final = struct.Struct(">4s12x2s14x")


class Route:
    """Maps documents and senders to (partition, owner key); for one thread at a time, as its ciphers are."""

    def __init__(self, *, key: bytes, partitions: int) -> None:
        if not 16 <= len(key) <= 64:
            raise ValueError("the routing key needs 16 to 64 bytes")
        self.partitions = partitions
        self._document = _blocks(b"d:", key)
        self._sender = _blocks(b"s:", key)
        self._person = _blocks(b"f:", key)
        self._organisation = _blocks(b"o:", key)
        self._long = _hashes(b"l:", key, _BLOCK)
        self._request = _hashes(b"r:", key, 8)
        self._identity = _blocks(b"i:", key)
        self._source = _kept(_hashes(b"u:", key, 4))
        self.fingerprint = hashlib.blake2b(b"fingerprint", key=key, digest_size=8).hexdigest()

    def of_documents(self, documents: Sequence[str]) -> list[tuple[int, bytes]]:
        """Partition and 8-byte owner key of each canonical document: a third of the time of a hash of each."""
        return self._placed(self._document, documents)

    def of_senders(self, senders: Sequence[str]) -> list[tuple[int, bytes]]:
        """Partition and 8-byte owner key of each phone number."""
        return self._placed(self._sender, senders)

    def of_document(self, document: str) -> tuple[int, bytes]:
        """As `of_documents` of one."""
        return self.of_documents((document,))[0]

    def of_sender(self, sender: str) -> tuple[int, bytes]:
        """As `of_senders` of one."""
        return self.of_senders((sender,))[0]

    def of_person(self, fin: str) -> tuple[int, bytes]:
        """Partition and 8-byte key of a person, by the canonical FIN."""
        return self._placed(self._person, (fin,))[0]

    def of_organisation(self, tin: str) -> int:
        """Partition of an organisation."""
        return self._placed(self._organisation, (tin,))[0][0]

    def of_request(self, words: bytes) -> str:
        """Digest of a request, 16 hex digits: keyed, so that it may rest beside what it seals."""
        return self._request(words).hex()

    def owner(self, document: str | None, sender: str) -> tuple[int, bytes]:
        """Partition and owner key of an SMS: by its document where one can be read, else by its sender."""
        return self.of_sender(sender) if document is None else self.of_document(document)

    def identities(self, batch: Iterable[InboundSms], senders: Iterable[tuple[int, bytes]]) -> list[bytes]:
        """Six bytes of each SMS, whose sender was placed: four of (source, sender, id), two of the text.

        The same id with another text agrees in the first four only: another SMS, counted as `id_reused`.
        Without an id the text stands in the id's place.
        """
        blocks: list[bytes] = []
        for one, (_, sender) in zip(batch, senders, strict=True):
            named = f"1{one.text}" if one.by_text else f"0{one.id}"
            checksum = zlib.crc32(named.encode("utf-8", "surrogatepass"))
            text = zlib.crc32(one.text.encode("utf-8", "surrogatepass"))
            blocks.append(_IDENTITY.pack(sender, self._source(one.source), checksum, b"text", text))
        digests: list[bytes] = []
        for name, text in _DIGESTS.iter_unpack(self._identity(b"".join(blocks))):
            digests.append(name + text)
        return digests

    def _placed(self, enciphered: Callable[[bytes], bytes], names: Iterable[str]) -> list[tuple[int, bytes]]:
        # Loops, not comprehensions: in Python 3.11 each is one more call, which one SMS by itself would pay for.
        blocks: list[bytes] = []
        for name in names:
            raw = name.encode("utf-8", "surrogatepass")
            blocks.append(raw.ljust(_BLOCK, b"\0") if len(raw) <= _BLOCK else self._long(raw))
        placed: list[tuple[int, bytes]] = []
        for owner, number in _PARTED.iter_unpack(enciphered(b"".join(blocks))):
            placed.append((number % self.partitions, owner))
        return placed


def _hashes(kind: bytes, key: bytes, size: int) -> Callable[[bytes], bytes]:
    """Hashes names under a key, to so many bytes."""
    keyed = hashlib.blake2b(kind, key=key, digest_size=size)

    def hashed(name: bytes) -> bytes:
        h = keyed.copy()
        h.update(name)
        return h.digest()

    return hashed


def _kept(hashes: Callable[[bytes], bytes]) -> Callable[[str], bytes]:
    """Hashes names that are few, and keeps what it has found."""

    @lru_cache(maxsize=1000)
    def kept(name: str) -> bytes:
        return hashes(name.encode("utf-8", "surrogatepass"))

    return kept


def _blocks(kind: bytes, key: bytes) -> Callable[[bytes], bytes]:
    """Enciphers blocks under a key of a kind's own. ECB is right here: equal names must give equal keys."""
    own = hashlib.blake2b(kind, key=key, digest_size=32).digest()
    return Cipher(AES(own), ECB()).encryptor().update  # noqa: S305
