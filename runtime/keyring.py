"""Keys that seal personal data at rest: AES-256-GCM, each sealed text naming its key, so that keys can be replaced.

Reads the keyring file: TOML `current = "<id>"` and `[keys]` with `<id> = "<base64 of 32 bytes>"`. The file lies
outside the store: whoever has the store alone reads nobody's name.
"""

import base64
import binascii
import hashlib
import os
import secrets
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final, get_args

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from permits.messages import Lang
from runtime.errors import StartupError
from runtime.settings import Settings

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12


SEALED_SENDER_BYTES: Final = 16
"""One block of AES."""
MOST_DIGITS: Final = 15
"""Of a phone number, by E.164."""
_LANGS: Final[tuple[Lang, ...]] = get_args(Lang)
_LANG_NUMBERS: Final = {lang: number for number, lang in enumerate(_LANGS)}
"""At most four; sealed numbers hold their places."""


class UnsealedError(ValueError):
    """The text is not sealed by one of our keys for this place; why is told to nobody."""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    current: str
    keys: dict[str, str]


class Keyring:
    """Seals with the current key, opens with any."""

    def __init__(self, keys: dict[str, bytes], current: str) -> None:
        self.current = current
        self.raw = keys
        self._ciphers = {name: AESGCM(key) for name, key in keys.items()}

    def seal(self, plain: bytes, place: str) -> str:
        """`<key id>.<base64url of nonce and ciphertext>`; only `open` with the same `place` reads it."""
        nonce = os.urandom(NONCE_BYTES)
        sealed = nonce + self._ciphers[self.current].encrypt(nonce, plain, place.encode())
        return f"{self.current}.{base64.urlsafe_b64encode(sealed).decode()}"

    def open(self, sealed: str, place: str) -> bytes:
        """What was sealed for this place; UnsealedError for anything else."""
        name, _, text = sealed.partition(".")
        try:
            raw = base64.urlsafe_b64decode(text)
            return self._ciphers[name].decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], place.encode())
        except (KeyError, ValueError, InvalidTag):
            raise UnsealedError("not sealed by one of our keys for this place") from None


class SenderSeal:
    """Seals phone numbers, each for one permit, in one AES block: half of it the number, half redundancy.

    The redundancy is made of the permit's owner and digest, which no two permits share, so equal numbers never give
    equal blocks and no nonce is needed. A block that was altered, or moved to another permit, opens to the right
    redundancy with a chance of 2^-64, so no tag is needed: a batch is one call of the cipher, 16 bytes a number.
    """

    def __init__(self, keyring: Keyring) -> None:
        names = sorted(keyring.raw, key=lambda name: name != keyring.current)
        # ECB is right here: within a key no block's content ever repeats.
        self._ciphers = [Cipher(AES(_sender_key(keyring.raw[name])), ECB()) for name in names]  # noqa: S305
        """Of the current key first."""

    def seal_many(self, senders: Sequence[tuple[str, Lang, bytes, bytes]]) -> bytes:
        """SEALED_SENDER_BYTES for each (number, language, owner key, digest); what is no number opens to nothing."""
        halves: list[int] = []
        for number, lang, owner, digest in senders:
            digits = number[1:]
            # The digits behind a 1, which keeps leading zeros, and the language in the last two bits; 0: no number.
            is_number = number[:1] == "+" and len(digits) <= MOST_DIGITS and digits.isdecimal() and digits.isascii()
            halves.append(int("1" + digits) << 2 | _LANG_NUMBERS[lang] if is_number else 0)
            # As `_redundancy`, whose call costs an approval as much again.
            halves.append(int.from_bytes(owner) ^ int.from_bytes(digest) << 16)
        encryptor = self._ciphers[0].encryptor()
        return encryptor.update(struct.pack(f">{len(halves)}Q", *halves)) + encryptor.finalize()

    def open(self, block: bytes, owner: bytes, digest: bytes) -> tuple[str, Lang] | None:
        """Number and language, where the block was sealed for this permit with one of our keys."""
        if len(block) != SEALED_SENDER_BYTES:
            return None
        for cipher in self._ciphers:
            decryptor = cipher.decryptor()
            packed, redundancy = struct.unpack(">QQ", decryptor.update(block) + decryptor.finalize())
            if packed and redundancy == _redundancy(owner, digest):
                return f"+{str(packed >> 2)[1:]}", _LANGS[packed & 3]
        return None


def _sender_key(key: bytes) -> bytes:
    return hashlib.blake2b(b"icaze senders", key=key, digest_size=KEY_BYTES).digest()


def _redundancy(owner: bytes, digest: bytes) -> int:
    """Differs for two permits of one owner whatever the owner, and else but for a chance of 2^-64."""
    return int.from_bytes(owner) ^ int.from_bytes(digest) << 16


def path(settings: Settings) -> Path:
    """Where the keyring lies."""
    return Path(settings.keyring_file) if settings.keyring_file else settings.data / "keys" / "personal.toml"


def make(at: Path) -> None:
    """Write a keyring with one new key, readable by the owner only, where no file stands yet."""
    at.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
    try:
        descriptor = os.open(at, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(f'current = "k1"\n\n[keys]\nk1 = "{key}"\n')
        file.flush()
        os.fsync(file.fileno())


def load(settings: Settings) -> Keyring:
    """The keyring of this deployment; StartupError names what is wrong with its file."""
    at = path(settings)
    try:
        file = msgspec.toml.decode(at.read_bytes(), type=_File)
        keys = {name: base64.b64decode(text, validate=True) for name, text in file.keys.items()}
    except OSError as error:
        raise StartupError(f"keyring {at}: {error.strerror}; `icaze up` makes one, or set ICAZE_KEYRING_FILE") from None
    except (msgspec.DecodeError, UnicodeDecodeError, binascii.Error) as error:
        raise StartupError(f"keyring {at}: {error}") from None
    for name, key in keys.items():
        if len(key) != KEY_BYTES or not name.isalnum():
            raise StartupError(f"keyring {at}: key {name!r}: a name of letters and digits, and base64 of 32 bytes")
    if file.current not in keys:
        raise StartupError(f"keyring {at}: current = {file.current!r} is none of its keys")
    return Keyring(keys, file.current)
