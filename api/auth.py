"""Who calls: reads the bearer token of a request and lets it in where its scope allows.

A verifier turns a token's text into its caller; `issuers` makes the one of this process.
"""

from collections.abc import Awaitable, Callable
from typing import Final, Literal

import msgspec
from aiohttp import hdrs, web

from runtime.problems import ProblemError

_CHALLENGE: Final = 'Bearer realm="icaze"'


class InvalidTokenError(Exception):
    """The token does not count; why is told to nobody."""


SealMethod = Literal["asan_imza", "e_signature"]


class Caller(msgspec.Struct, frozen=True):
    """Whom a token names, and what it allows."""

    subject: str
    scopes: frozenset[str]
    client: str = ""
    """The service that calls, where the token names one."""
    fin: str | None = None
    """Personal code of the person who has logged in."""
    documents: tuple[str, ...] = ()
    """That person's documents, canonical."""
    tin: str | None = None
    """Tax number of the organisation whose seal the person's certificate carries."""
    method: SealMethod | None = None
    """How the person has proven who they are; None: not strongly enough for an act under seal."""
    seal_acr: str = ""
    """The issuer's acr values, with spaces between, of a log-in that is strong enough; empty: it has none."""


Verify = Callable[[str], Awaitable[Caller]]
"""Raises InvalidTokenError, and nothing else, for any text."""


async def no_issuer(token: str) -> Caller:
    """The verifier where no issuer is configured: no token counts."""
    raise InvalidTokenError


async def admit(request: web.BaseRequest, verify: Verify, scope: str) -> Caller:
    """The caller of a request, where the token carries the scope; else a 401 or 403 as RFC 6750 words it."""
    token = _bearer_token(request)
    if token is None:
        raise ProblemError(
            401, "Unauthorized", "send Authorization: Bearer <token>", headers={"WWW-Authenticate": _CHALLENGE}
        )
    try:
        caller = await verify(token)
    except InvalidTokenError:
        raise ProblemError(
            401,
            "Unauthorized",
            "the token is not valid here and now",
            headers={"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'},
        ) from None
    if scope not in caller.scopes:
        raise ProblemError(
            403,
            "Forbidden",
            f"the token lacks the scope {scope}",
            headers={"WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_scope", scope="{scope}"'},
        )
    return caller


def need_seal(caller: Caller) -> SealMethod:
    """How the caller has proven who they are, for an act under seal.

    ProblemError 401 asks for a stronger log-in as RFC 9470 words it; 403 where the issuer has none to offer.
    """
    if caller.method is not None:
        return caller.method
    if not caller.seal_acr:
        raise ProblemError(403, "Forbidden", "an act under seal needs a person's own log-in")
    raise ProblemError(
        401,
        "Unauthorized",
        "an act under seal needs a log-in with ASAN İmza or an e-signature",
        headers={
            "WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_user_authentication", '
            f'error_description="a stronger log-in is needed", acr_values="{caller.seal_acr}"'
        },
    )


def _bearer_token(request: web.BaseRequest) -> str | None:
    """The token of the one Authorization header; several, or another scheme, are none."""
    headers = request.headers.getall(hdrs.AUTHORIZATION, ())
    if len(headers) != 1:
        return None
    scheme, _, token = headers[0].partition(" ")
    return token.strip() or None if scheme == "Bearer" or scheme.lower() == "bearer" else None
