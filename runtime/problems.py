"""Errors to callers, as RFC 9457 problem+json."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec
from aiohttp import web
from redis.exceptions import ResponseError

from permits.employees import Flaw
from runtime.connection import CONDITIONS
from runtime.telemetry import Log

MEDIA_TYPE: Final = "application/problem+json"
_log = Log("http")


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong, as RFC 9457 says it."""

    title: str
    status: int
    detail: str = ""
    type: str = "about:blank"
    errors: tuple[Flaw, ...] = ()
    """What is wrong, field by field, where fields are to blame."""


class ProblemError(Exception):
    """Ends a request with a problem."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str = "",
        *,
        headers: dict[str, str] | None = None,
        errors: Sequence[Flaw] = (),
    ) -> None:
        super().__init__(title)
        self.problem = Problem(title=title, status=status, detail=detail, errors=tuple(errors))
        self.headers = headers or {}

    def response(self) -> web.Response:
        """As it goes to the caller."""
        return web.Response(
            body=msgspec.json.encode(self.problem),
            status=self.problem.status,
            content_type=MEDIA_TYPE,
            headers=self.headers,
        )


def problem_of(error: Exception, *, method: str, route: str) -> ProblemError:
    """What a caller is told about any error, ours or aiohttp's; what nobody foresaw is logged, and is a 500.

    `route` is the route's own text: a caller's path may name a person.
    """
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, web.RequestPayloadError):
        return ProblemError(400, "Unreadable body", "it does not arrive in the coding that its headers name")
    if isinstance(error, web.HTTPException):
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return ProblemError(error.status, error.reason, headers=headers)
    if isinstance(error, ResponseError) and (code := _condition(error)):
        _log.error("the store refused", reason=code, method=method, route=route)
        return ProblemError(503, "Store unavailable", "ask again in a moment", headers={"Retry-After": "1"})
    _log.error("request failed", cause=error, method=method, route=route)
    return ProblemError(500, "Internal error")


def _condition(refusal: ResponseError) -> str | None:
    """The code of a refusal that tells of the store's state and passes: full, loading, functions flushed."""
    code = refusal.status_code or str(refusal).split(" ", 1)[0]
    return code if code in CONDITIONS or "Function not found" in str(refusal) else None


@web.middleware
async def problems(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turns every error of a handler into a problem."""
    try:
        return await handler(request)
    except Exception as error:  # the last line: a caller gets a problem, never a traceback
        if isinstance(error, web.HTTPException) and error.status < 400:
            raise
        resource = request.match_info.route.resource
        route = "none" if resource is None else resource.canonical
        return problem_of(error, method=request.method, route=route).response()
