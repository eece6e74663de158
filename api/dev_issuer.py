"""The development issuer: one Ed25519 key in the data folder that signs tokens and proves them.

Reads `keys/dev-issuer.jwk` in the data folder, and writes it where it is missing. Not for production: whoever
reads that file can be anybody.
"""

import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from joserfc.jws import JWSRegistry

from api.auth import SealMethod, Verify
from api.public_keys import KeySet, public_key
from api.tokens import Proof, Token, Verifier, person, prove
from permits.calendar import rfc3339
from runtime.errors import StartupError
from runtime.settings import Settings

ALGORITHM: Final = "Ed25519"
"""EdDSA by the name that fixes its curve (RFC 9864); the older name `EdDSA` leaves the curve open."""
ISSUER: Final = "icaze-dev"
AUDIENCE: Final = "icaze"
LEEWAY_S: Final = 30
"""How far the clocks of issuer and api may differ."""
METHODS: Final[Mapping[str, SealMethod]] = {"urn:asan:imza": "asan_imza", "urn:asan:esign": "e_signature"}
"""What the acr values of its tokens stand for."""

_SIGNATURES: Final = JWSRegistry(algorithms=[ALGORITHM])


class Issued(msgspec.Struct, frozen=True):
    """A token as `icaze token --json` prints it."""

    token: str
    expires_at: str
    scope: str


def key_path(settings: Settings) -> Path:
    """Where the issuer's key pair lies."""
    return settings.data / "keys" / "dev-issuer.jwk"


def key_pair(settings: Settings) -> OKPKey:
    """The issuer's key pair, made where none stands yet; StartupError where the file cannot be used."""
    path = key_path(settings)
    try:
        if not path.exists():
            _make(path)
        key = OKPKey.import_key(msgspec.json.decode(path.read_bytes(), type=dict[str, str | list[str]]))
    except OSError as error:
        raise StartupError(f"development issuer {path}: {error.strerror}") from None
    except (JoseError, ValueError, TypeError, KeyError):
        key = None
    if key is None or not key.is_private or key.curve_name != "Ed25519":
        raise StartupError(f"development issuer {path}: not a private Ed25519 JWK; remove it to have another made")
    return key


def _make(path: Path) -> None:
    """Write a new key pair, readable by the owner only: whole or not at all, and never over another's."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(msgspec.json.encode(OKPKey.generate_key("Ed25519").as_dict(private=True)))
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        return  # another process made one in the meantime: that one holds
    finally:
        draft.unlink(missing_ok=True)


def issue(
    key: OKPKey,
    *,
    subject: str,
    scope: str,
    minutes: int,
    now_ms: int,
    claims: Mapping[str, str | list[str]] | None = None,
) -> Issued:
    """A signed token; `scope` holds scopes with spaces between, `claims` what a role has beside the usual ones."""
    now_s = now_ms // 1000
    expires_s = now_s + 60 * minutes
    body: dict[str, Any] = {
        **(claims or {}),
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": subject,
        "scope": scope,
        "iat": now_s,
        "nbf": now_s,
        "exp": expires_s,
    }
    token = jwt.encode({"alg": ALGORITHM}, body, key, registry=_SIGNATURES)
    return Issued(token=token, expires_at=rfc3339(expires_s * 1000), scope=scope)


class DevIssuer:
    """Proves tokens of this issuer by the key's public half."""

    def __init__(self, key: OKPKey) -> None:
        self._keys = KeySet([public_key(key.as_dict(private=False))])

    async def prove(self, token: Token) -> Proof:
        """InvalidTokenError where the key did not sign the token for the api."""
        return prove(
            token,
            self._keys,
            algorithms=frozenset({ALGORITHM}),
            audience=AUDIENCE,
            leeway_s=LEEWAY_S,
            caller_of=lambda claims: person(claims, METHODS),
        )


def verifier(key: OKPKey, now_ms: Callable[[], int]) -> Verify:
    """A verifier that knows this issuer alone."""
    return Verifier({ISSUER: DevIssuer(key)}, now_ms)
