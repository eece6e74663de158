"""Errors to callers, as RFC 9457 problem+json."""

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from aiohttp import web

from runtime.telemetry import Log

MEDIA_TYPE: Final = "application/problem+json"
_log = Log("http")


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of an error."""

    title: str
    status: int
    detail: str = ""
    type: str = "about:blank"


class ProblemError(Exception):
    """Ends a request with a problem."""

    def __init__(self, status: int, title: str, detail: str = "", *, headers: dict[str, str] | None = None) -> None:
        super().__init__(title)
        self.problem = Problem(title=title, status=status, detail=detail)
        self.headers = headers or {}

    def response(self) -> web.Response:
        """As it goes to the caller."""
        return web.Response(
            body=msgspec.json.encode(self.problem),
            status=self.problem.status,
            content_type=MEDIA_TYPE,
            headers=self.headers,
        )


@web.middleware
async def problems(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turns every error of a handler, ours or aiohttp's, into a problem; what nobody foresaw is logged as a 500."""
    try:
        return await handler(request)
    except ProblemError as error:
        return error.response()
    except web.RequestPayloadError:
        return ProblemError(400, "Unreadable body", "it does not arrive in the coding that its headers name").response()
    except web.HTTPException as error:
        if error.status < 400:
            raise
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return ProblemError(error.status, error.reason, headers=headers).response()
    except Exception as error:  # noqa: BLE001  # the last line: a caller gets a problem, never a traceback
        _log.error("request failed", cause=error, method=request.method, path=request.path)
        return ProblemError(500, "Internal error").response()
