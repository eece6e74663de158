"""What the api promises: one registry of operations, from which the routes, the checks at the door and the OpenAPI
description are all made.

Each door module lists its own `Operation`s; `app` joins them.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal

import msgspec
from aiohttp import web

from api.auth import Caller

JSON: Final = "application/json"


class Call(msgspec.Struct, frozen=True, gc=False):
    """A request that has passed the door: who calls, and its parts decoded."""

    request: web.Request
    caller: Caller
    body: Any
    """Of the operation's `body` type; raw bytes where the media type is not JSON, and of a JSON array where
    the operation takes other media too; None without a body."""
    query: Any
    """Of the operation's `query` type, or None."""
    trace: str
    """W3C traceparent: the caller's, or one made for this request."""
    if_match: str | None
    """The entity tag that the caller saw, without quotes; set where the operation needs one."""
    idempotency_key: str | None
    request_id: str = ""
    """Echoed in X-Request-Id; a handler that prepares its own stream must send it itself."""

    def path(self, name: str) -> str:
        """A variable of the path."""
        return self.request.match_info[name]


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What a handler answers: a Struct (or ready JSON) and, where they matter, status, entity tag and location."""

    body: Any
    status: int = 200
    etag: str | None = None
    """Without quotes."""
    location: str | None = None
    headers: Mapping[str, str] | None = None


Handler = Callable[[Call], Awaitable[Answer | web.StreamResponse]]
"""Raises ProblemError for everything that the caller can act on."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation of the api. Framework answers (400, 401, 403, 413, 415, 503 …) are described by themselves."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    """As in OpenAPI, `/v1/organisations/{tin}/permits`; each variable stands in `PATH_VARIABLES`."""
    name: str
    """operationId, in snake_case."""
    summary: str
    tag: str
    handler: Handler
    scope: str | None
    """What the caller's token must carry; None: open to all, and `Call.caller` is ANONYMOUS."""
    body: Any = None
    """Type of a JSON body; None: no body is read."""
    other_media: tuple[str, ...] = ()
    """Media types beside JSON; the handler gets their raw bytes, and those of a JSON array."""
    max_body_bytes: int = 4096
    query: type[msgspec.Struct] | None = None
    answers: Mapping[int, Any]
    """Type of the body by success status; None: no body."""
    answer_media: str = JSON
    problems: tuple[int, ...] = ()
    """Statuses of the handler's own problems, e.g. 404, 409."""
    etag: bool = False
    """Answers carry an entity tag; a GET with a matching If-None-Match is answered 304."""
    if_match: bool = False
    """If-Match is required: 428 without, and the handler answers 412 where it is stale."""
    idempotency_key: Literal["none", "optional", "required"] = "none"


PATH_VARIABLES: Final[Mapping[str, tuple[str, str, str]]] = {
    "tin": (r"[0-9]{10}", "tax number of the organisation", "1234567890"),
    "code": (r"[2-9A-HJ-NP-Za-hj-np-z]{10}", "permit code", "23456789AB"),
    "delegate": (r"[0-9a-f]{16}", "id of a delegation", "0123456789abcdef"),
    "version": (r"p[1-9][0-9]{0,8}-[0-9a-f]{8}", "version of the rules", "p1-0123abcd"),
    "import": (r"[0-9a-f]{32}", "id of an import", "0123456789abcdef0123456789abcdef"),
}
"""Pattern, meaning and example of each path variable."""

ANONYMOUS: Final = Caller(subject="", scopes=frozenset())


def etag_of(version: int, epoch: int) -> str:
    """The entity tag of a versioned record whose status the epochs also change."""
    return f"{version}.{epoch}"
