"""Who calls: reads the bearer token of a request and lets it in where its scope allows.

A verifier is a function from a token's text to its caller; the development issuer's is the only one so far.
"""

from collections.abc import Callable
from typing import Final

import msgspec
from aiohttp import web

from runtime.problems import ProblemError

_CHALLENGE: Final = 'Bearer realm="icaze"'


class InvalidTokenError(Exception):
    """The token does not count; why is told to nobody."""


class Caller(msgspec.Struct, frozen=True):
    """Whom a token names, and what it allows."""

    subject: str
    scopes: frozenset[str]


Verify = Callable[[str], Caller]
"""Raises InvalidTokenError, and nothing else, for any text."""


def no_issuer(token: str) -> Caller:
    """The verifier where no issuer is configured: no token counts."""
    raise InvalidTokenError


def admit(request: web.Request, verify: Verify, scope: str) -> Caller:
    """The caller of a request, where the token carries the scope; else a 401 or 403 as RFC 6750 words it."""
    token = _bearer_token(request)
    if token is None:
        raise ProblemError(
            401, "Unauthorized", "send Authorization: Bearer <token>", headers={"WWW-Authenticate": _CHALLENGE}
        )
    try:
        caller = verify(token)
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


def _bearer_token(request: web.Request) -> str | None:
    """The token of the one Authorization header; several, or another scheme, are none."""
    headers = request.headers.getall("Authorization", [])
    if len(headers) != 1:
        return None
    scheme, _, token = headers[0].partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
