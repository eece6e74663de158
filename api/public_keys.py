"""Public keys: which JWK may prove tokens, and the set of them that an issuer has at a time.

Every issuer's tokens are proven here, so that none can be talked into a weaker algorithm or into the wrong key.
"""

import math
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from joserfc.util import base64_to_int

_KINDS: Final = {
    **{f"{family}{bits}": "RSA" for family in ("RS", "PS") for bits in (256, 384, 512)},
    "ES256": "P-256",
    "ES384": "P-384",
    "ES512": "P-521",
    "Ed25519": "Ed25519",
    "EdDSA": "Ed25519",
}
"""The kind of key that each algorithm needs."""
_SAME: Final = {"EdDSA": "Ed25519"}
"""RFC 9864 gave EdDSA's curves names of their own; issuers still send the old one."""
ALGORITHMS: Final = frozenset(_KINDS)
"""All that may be allowed: none of them takes a shared secret."""
_CLASSES: Final = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
_RSA_BITS: Final = range(2048, 8193)
"""Shorter is forgeable (NIST SP 800-131A); longer is only a way to keep us busy."""


class PublicKey(msgspec.Struct, frozen=True):
    """A key that proves signatures."""

    kid: str | None
    algorithms: frozenset[str]
    """What it may prove: one algorithm where the JWK names it, else all of its kind."""
    key: Any


class _Jwk(msgspec.Struct, frozen=True):
    kty: Literal["RSA", "EC", "OKP"]
    kid: str | None = None
    use: Literal["sig"] = "sig"
    key_ops: tuple[str, ...] = ("verify",)
    alg: str | None = None
    crv: str = ""
    n: str = ""
    e: str = ""
    x: str = ""
    y: str = ""


def public_key(jwk: object) -> PublicKey:
    """The public half of a JWK; ValueError where it is malformed, weak, or for something else than signatures."""
    parts = msgspec.convert(jwk, _Jwk)
    kind = "RSA" if parts.kty == "RSA" else parts.crv
    alg = parts.alg and _SAME.get(parts.alg, parts.alg)
    algorithms = frozenset(
        name for name, needed in _KINDS.items() if needed == kind and alg in (None, _SAME.get(name, name))
    )
    if not algorithms or "verify" not in parts.key_ops:
        raise ValueError("not a key for the signatures that count")
    if parts.kty == "RSA" and base64_to_int(parts.n).bit_length() not in _RSA_BITS:
        raise ValueError(f"an RSA key has {_RSA_BITS[0]} to {_RSA_BITS[-1]} bits")
    members = {name: getattr(parts, name) for name in ("kty", "crv", "n", "e", "x", "y") if getattr(parts, name)}
    try:
        key = _CLASSES[parts.kty].import_key(members)
    except (JoseError, KeyError, TypeError) as error:
        raise ValueError(f"not a usable key ({type(error).__name__})") from None
    return PublicKey(kid=parts.kid, algorithms=algorithms, key=key)


class KeySet:
    """The keys of an issuer, which count until a moment that may move."""

    def __init__(self, keys: Sequence[PublicKey], *, until_s: float = math.inf) -> None:
        self.keys = tuple(keys)
        self.until_s = until_s

    def fitting(self, kid: str | None, algorithm: str) -> list[PublicKey]:
        """The keys that a token may mean; one without key id may mean any that fits its algorithm."""
        return [key for key in self.keys if algorithm in key.algorithms and kid in (None, key.kid)]

    def prove(self, *, kid: str | None, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Whether a key that may be meant has signed."""
        verify = JWSRegistry.algorithms[_SAME.get(algorithm, algorithm)].verify
        return any(verify(signed, signature, key.key) for key in self.fitting(kid, algorithm))
