"""Services: mygov.az, police and staff systems, which sign short assertions of their own (RFC 7523) as bearer tokens.

Reads the services' TOML file: `[[service]] name = "mygov" scopes = ["status"] keys = [{kty = "OKP", …}]`, public JWKs.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from api.auth import Caller, InvalidTokenError
from api.dev_issuer import ISSUER
from api.public_keys import ALGORITHMS, KeySet, PublicKey, public_key
from api.tokens import Claims, Proof, Token, prove
from runtime.errors import StartupError

MAX_LIFE_S: Final = 3600
"""From iat to exp: what leaks stops counting within the hour."""
_PRIVATE: Final = {"d", "k"}


class _Service(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]{1,32}$")]
    scopes: Annotated[list[Annotated[str, msgspec.Meta(pattern=r"^[a-z.]{1,32}$")]], msgspec.Meta(min_length=1)]
    keys: Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1)]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    service: Annotated[list[_Service], msgspec.Meta(min_length=1)]


class Service:
    """Proves the assertions of one service."""

    def __init__(
        self, name: str, *, scopes: Sequence[str], keys: Sequence[PublicKey], audience: str, leeway_s: int
    ) -> None:
        self._name = name
        self._scopes = frozenset(scopes)
        self._keys = KeySet(keys)
        self._audience = audience
        self._leeway_s = leeway_s

    async def prove(self, token: Token) -> Proof:
        """InvalidTokenError where the service did not sign the token for us, as itself and for an hour at most."""
        claims = token.claims
        if claims.sub != self._name or claims.exp > claims.iat + MAX_LIFE_S:
            raise InvalidTokenError
        return prove(
            token,
            self._keys,
            algorithms=ALGORITHMS,
            audience=self._audience,
            leeway_s=self._leeway_s,
            caller_of=self._caller,
        )

    def _caller(self, claims: Claims) -> Caller:
        """The service, or the person who acts through it; its assertion may ask for less than the file allows."""
        scopes = self._scopes if claims.scope is None else self._scopes.intersection(claims.scope.split())
        subject = self._name if claims.officer is None else f"{self._name}:{claims.officer}"
        return Caller(subject=subject, scopes=scopes, client=self._name)


def load(path: str, *, audience: str, leeway_s: int) -> Mapping[str, Service]:
    """The services of a file by their names, none without a file; StartupError names the file and what is wrong."""
    if not path:
        return {}
    try:
        file = msgspec.toml.decode(Path(path).read_bytes(), type=_File)
    except OSError as error:
        raise StartupError(f"services {path}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StartupError(f"services {path}: {error}") from None
    for name, times in Counter([ISSUER, *(service.name for service in file.service)]).items():
        if times > 1:
            raise StartupError(f"services {path}: the name {name} is taken")
    return {
        service.name: Service(
            service.name,
            scopes=service.scopes,
            keys=[_key(path, service.name, number, jwk) for number, jwk in enumerate(service.keys, 1)],
            audience=audience,
            leeway_s=leeway_s,
        )
        for service in file.service
    }


def _key(path: str, name: str, number: int, jwk: Mapping[str, Any]) -> PublicKey:
    try:
        if not _PRIVATE.isdisjoint(jwk):
            raise ValueError("a secret; only the public half belongs here")
        return public_key(jwk)
    except ValueError as error:
        raise StartupError(f"services {path}: {name}: key {number}: {error}") from None
