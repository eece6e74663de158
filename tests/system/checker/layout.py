"""Names and hashes in a store: partitions and their tags, keyed hashes of documents and phones, permit codes."""

import hashlib
import json
import zlib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

BAKU: Final = ZoneInfo("Asia/Baku")
EPOCH: Final = date(1970, 1, 1)
LETTERS: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
"""Of permit codes, worth 0 to 31."""


class LayoutError(ValueError):
    """The store, or the key of its hashes, is not one that the checker can read."""


class Layout(NamedTuple):
    """What the key `layout` says."""

    tags: tuple[str, ...]
    fingerprint: str

    def key(self, kind: str, partition: int, *rest: str) -> str:
        """The name of a partition's key."""
        return ":".join((kind, f"{{{self.tags[partition]}}}", *rest))


def layout(raw: bytes | None) -> Layout:
    """The layout of a store; LayoutError where it has none."""
    try:
        said = json.loads(raw or b"")
        return Layout(tuple(said["tags"]), said["routing_key"])
    except (ValueError, KeyError, TypeError):
        raise LayoutError("the key `layout` is missing or none of ours: is this the right store?") from None


class Hashes:
    """Owners and identities as AES blocks, all else keyed BLAKE2b: a prefix and the words."""

    def __init__(self, keys: Path, of: Layout) -> None:
        path = keys / "routing.key"
        try:
            self._key = path.read_bytes()
        except OSError as error:
            raise LayoutError(f"{path}: {error.strerror}") from None
        self._partitions = len(of.tags)
        if self._hash("fingerprint", 8).hex() != of.fingerprint:
            raise LayoutError(f"{path} is not the key that this store was made with")

    def owner(self, document: str | None, phone: str) -> tuple[int, str]:
        """Partition and owner key (16 hex digits) of a document, else of a phone."""
        kind, name = ("s:", phone) if document is None else ("d:", document)
        block = name.encode("utf-8", "surrogatepass")
        block = block + bytes(16 - len(block)) if len(block) <= 16 else self._hash(f"l:{name}", 16)
        found = self._enciphered(kind, block)
        return int.from_bytes(found[8:12]) % self._partitions, found[:8].hex()

    def identity(self, source: str, phone: str, sms_id: str, text: str, *, by_text: bool) -> str:
        """Digest of an SMS's identity, 12 hex digits: its name, then its text."""
        _, sender = self.owner(None, phone)
        named = _checksum(f"1{text}" if by_text else f"0{sms_id}")
        name = self._enciphered("i:", bytes.fromhex(sender) + self._hash(f"u:{source}", 4) + named)
        return (name[:4] + self._enciphered("i:", bytes(8) + b"text" + _checksum(text))[:2]).hex()

    def _enciphered(self, kind: str, block: bytes) -> bytes:
        return Cipher(AES(self._hash(kind, 32)), ECB()).encryptor().update(block)  # noqa: S305  # one block, no mode

    def _hash(self, words: str, size: int) -> bytes:
        return hashlib.blake2b(words.encode("utf-8", "surrogatepass"), key=self._key, digest_size=size).digest()


def _checksum(words: str) -> bytes:
    return zlib.crc32(words.encode("utf-8", "surrogatepass")).to_bytes(4)


def code_of(partition: int, owner: str, digest: str) -> str:
    """The code of a permit: partition (10 bits), field (32), first byte of the digest (8), five bits a letter."""
    bits = partition << 40 | int(owner[:8], 16) << 8 | int(digest[:2], 16)
    return "".join(LETTERS[bits >> shift & 31] for shift in range(45, -5, -5))


def day_of(at_ms: int) -> int:
    """Number of the Baku day that holds an instant, from 1970-01-01."""
    return (datetime.fromtimestamp(at_ms // 1000, BAKU).date() - EPOCH).days


def day_name(day: int) -> str:
    """`YYYYMMDD` of a day's number."""
    return f"{EPOCH + timedelta(days=day):%Y%m%d}"


def date_of(day: int) -> str:
    """A day for people: `2026-01-01`."""
    return f"{EPOCH + timedelta(days=day)}"


def moment(at_ms: int) -> str:
    """An instant for people."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%H:%M:%S.%f}"[:-3]


def day_number(name: str) -> int:
    """The inverse of `day_name`."""
    return (datetime.strptime(name, "%Y%m%d").replace(tzinfo=UTC).date() - EPOCH).days
