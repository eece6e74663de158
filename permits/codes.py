"""Permit codes: ten characters that are the address of the permit's record, so that no index of codes is kept.

Fifty bits in a 32-letter alphabet without look-alikes: ten name the partition, thirty-two the field of the day
record, eight must agree with the digest of the SMS that obtained the permit. At a national day's 32,000 permits a
partition a guess hits with a chance of about 3 in 10^8 a day record.
"""

from typing import Final

ALPHABET: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
LENGTH: Final = 10
MAX_PARTITIONS: Final = 1024

_PAIRS: Final = [a + b for a in ALPHABET for b in ALPHABET]
_VALUE: Final = {letter: value for value, pair in enumerate(ALPHABET) for letter in (pair, pair.lower())}


def encode(partition: int, owner: bytes, digest: bytes) -> str:
    """The code of a permit: partition, first four bytes of the owner key, first byte of the SMS's digest."""
    bits = int.from_bytes(owner[:4]) << 8 | digest[0]
    of = _PAIRS
    return f"{of[partition]}{of[bits >> 30]}{of[bits >> 20 & 1023]}{of[bits >> 10 & 1023]}{of[bits & 1023]}"


def decode(code: str) -> tuple[int, bytes, int] | None:
    """(partition, field, digest byte) of a code as people type it, or None where it cannot be one."""
    letters = [_VALUE.get(letter) for letter in code if letter not in " -"]
    if len(letters) != LENGTH:
        return None
    bits = 0
    for value in letters:
        if value is None:
            return None
        bits = bits << 5 | value
    return bits >> 40, (bits >> 8 & 0xFFFFFFFF).to_bytes(4), bits & 0xFF
