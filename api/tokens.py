"""Tokens: reads a signed JWT, has its issuer prove it, and remembers what was proven.

Each issuer (`dev_issuer`, `services`, `oidc`) knows its own keys and whom its claims name; the rest is the same here.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Annotated, Final, Protocol

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.util import urlsafe_b64decode

from api.auth import Caller, InvalidTokenError, SealMethod
from api.public_keys import KeySet
from permits import fin
from permits.documents import canonical

MAX_TOKEN: Final = 8192
"""Characters; a proxy's usual room for a header."""
MAX_PROVEN: Final = 4096
"""Tokens remembered: a service sends one for an hour, and proving it costs 100 µs and more."""
_TYPES: Final = {"jwt", "at+jwt", "application/jwt", "application/at+jwt"}
TIN: Final = re.compile(r"[0-9]{10}")
"""Tax number of an organisation."""

Name = Annotated[str, msgspec.Meta(max_length=255)]
"""OpenID Connect Core, section 2: a subject has 255 characters at most."""


class Claims(msgspec.Struct, frozen=True):
    """What a token says; a claim of another type makes the token invalid. Times in seconds since 1970."""

    iss: str
    sub: Annotated[Name, msgspec.Meta(min_length=1)]
    aud: str | tuple[str, ...]
    exp: int | float
    nbf: int | float = 0
    iat: int | float = 0
    scope: str | None = None
    azp: Name = ""
    client_id: Name = ""
    fin: str | None = None
    documents: tuple[str, ...] = ()
    tin: str | None = None
    acr: str | None = None
    officer: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None


class _Header(msgspec.Struct, frozen=True):
    alg: str
    kid: str | None = None
    typ: str = "JWT"


class Token(msgspec.Struct, frozen=True):
    """A token as read: nothing in it is proven."""

    algorithm: str
    kid: str | None
    signed: bytes
    signature: bytes
    claims: Claims


class Proof(msgspec.Struct, frozen=True):
    """A proven token: whom it names, from when, until when, and by which keys."""

    caller: Caller
    from_s: float
    until_s: float
    keys: KeySet

    def counts(self, now_s: int) -> bool:
        """Whether it counts now: its own times, and its keys still the issuer's."""
        return self.from_s <= now_s < self.until_s and now_s < self.keys.until_s


class Issuer(Protocol):
    """Proves the tokens that carry its name."""

    async def prove(self, token: Token) -> Proof:
        """InvalidTokenError where the token is not one of its own for us; times are judged by the caller."""
        ...


class Verifier:
    """A `Verify` over several issuers, each under the name that its tokens carry as `iss`."""

    def __init__(self, issuers: Mapping[str, Issuer], now_ms: Callable[[], int]) -> None:
        self._issuers = issuers
        self._now_ms = now_ms
        self._proven: OrderedDict[str, Proof] = OrderedDict()

    async def __call__(self, text: str) -> Caller:
        """The caller; InvalidTokenError for everything else. A token proven before costs no signature."""
        proof = self._proven.get(text)
        if proof is not None and proof.counts(self._now_ms() // 1000):
            self._proven.move_to_end(text)
            return proof.caller
        self._proven.pop(text, None)
        token = read(text)
        issuer = self._issuers.get(token.claims.iss)
        if issuer is None:
            raise InvalidTokenError
        proof = await issuer.prove(token)
        if not proof.counts(self._now_ms() // 1000):
            raise InvalidTokenError
        self._proven[text] = proof
        if len(self._proven) > MAX_PROVEN:
            self._proven.popitem(last=False)
        return proof.caller


def read(text: str) -> Token:
    """A token's parts; InvalidTokenError where the text is none."""
    if len(text) > MAX_TOKEN:
        raise InvalidTokenError
    try:
        found = jws.extract_compact(text.encode())
        header = msgspec.convert(found.protected, _Header)
        claims = msgspec.json.decode(found.payload, type=Claims)
        signed, _, signature = text.encode().rpartition(b".")
        signature = urlsafe_b64decode(signature)
    except (JoseError, ValueError, TypeError, RecursionError):
        raise InvalidTokenError from None
    if header.typ.lower() not in _TYPES or "crit" in found.protected:
        raise InvalidTokenError
    if not f"{claims.sub}{claims.officer or ''}{claims.azp}{claims.client_id}".isprintable():
        raise InvalidTokenError  # they stand in the audit trail
    return Token(algorithm=header.alg, kid=header.kid, signed=signed, signature=signature, claims=claims)


def prove(
    token: Token,
    keys: KeySet,
    *,
    algorithms: frozenset[str],
    audience: str,
    leeway_s: int,
    caller_of: Callable[[Claims], Caller],
) -> Proof:
    """The proof of a token meant for the audience and signed by one of the keys, else InvalidTokenError."""
    claims = token.claims
    audiences = (claims.aud,) if isinstance(claims.aud, str) else claims.aud
    if audience not in audiences or token.algorithm not in algorithms:
        raise InvalidTokenError
    if not keys.prove(kid=token.kid, algorithm=token.algorithm, signed=token.signed, signature=token.signature):
        raise InvalidTokenError
    return Proof(
        caller=caller_of(claims),
        from_s=max(claims.nbf, claims.iat) - leeway_s,
        until_s=claims.exp + leeway_s,
        keys=keys,
    )


def person(claims: Claims, methods: Mapping[str, SealMethod]) -> Caller:
    """A person who has logged in; `methods` by the acr values that stand for them. Odd numbers are as none."""
    return Caller(
        subject=claims.sub,
        scopes=frozenset((claims.scope or "").split()),
        client=claims.azp or claims.client_id,
        fin=fin.canonical(claims.fin) if claims.fin else None,
        documents=tuple(dict.fromkeys(found for text in claims.documents if (found := canonical(text)))),
        tin=claims.tin if claims.tin and TIN.fullmatch(claims.tin) else None,
        method=methods.get(claims.acr) if claims.acr else None,
        seal_acr=" ".join(methods),
    )
