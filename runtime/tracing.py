"""By which a request is followed: its id and its W3C traceparent, as the caller gave them."""

import re
from typing import Final

from aiohttp import web
from multidict import istr

REQUEST_ID: Final = istr("X-Request-Id")
TRACEPARENT: Final = istr("traceparent")

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TRACE: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_TRACE_CHARACTERS: Final = 55


def given_request_id(request: web.BaseRequest) -> str | None:
    """The caller's id of the request, where it is one that can be echoed."""
    given = request.headers.get(REQUEST_ID)
    return given if given is not None and _REQUEST_ID.fullmatch(given) else None


def given_trace(request: web.BaseRequest) -> str | None:
    """The caller's traceparent, read as version 00 (W3C Trace Context, 3.2), where it is valid."""
    given = request.headers.get(TRACEPARENT)
    if given is None:
        return None
    start, rest = given[:_TRACE_CHARACTERS], given[_TRACE_CHARACTERS:]
    # Version 00 ends here; a later one may say more, after a dash.
    if _TRACE.fullmatch(start) and (not rest or (rest[0] == "-" and start[:2] != "00")):
        return f"00{start[2:]}"
    return None
