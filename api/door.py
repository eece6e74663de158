"""The door of each operation: turns a request into a `Call` for its handler, and the `Answer` into a response.

Whatever an `Operation` says is prepared once, at the start. In order: who calls, query, preconditions, body, handler.
Whatever a schema can say is a 400; a 422 is a handler's own.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from random import getrandbits
from typing import Any, Final, cast

import msgspec
from aiohttp import hdrs, web
from multidict import istr

from api.auth import Verify, admit
from api.contract import ANONYMOUS, JSON, PATH_VARIABLES, Answer, Call, Operation
from runtime.connection import STORE_ERRORS
from runtime.doors import ShortWay, ShortWays
from runtime.problems import ProblemError, problem_of
from runtime.quick_response import QuickResponse, fits
from runtime.telemetry import REQUESTS
from runtime.tracing import REQUEST_ID, given_request_id, given_trace

IDEMPOTENCY_KEY: Final = istr("Idempotency-Key")
IDEMPOTENCY_KEY_PATTERN: Final = r"[\x21-\x7e]{1,64}"
NO_STORE: Final = "no-store"
"""Every answer may speak about a person."""
UNROUTED: Final = "none"
"""How answers outside all routes are counted."""
SMALL_BYTES: Final = 1 << 20
"""Larger bodies are read a few at a time: an unfinished one is held as far as it has come."""
LARGE_AT_ONCE: Final = 4
LARGE_PATIENCE_S: Final = 60.0
"""From the turn of a large body to its end."""

_IDEMPOTENCY_KEY: Final = re.compile(IDEMPOTENCY_KEY_PATTERN)
_ARRAY: Final = re.compile(rb"[ \t\r\n]*\[")
_ENTITY_TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e]*)"')
_PROCESS: Final = f"{getrandbits(64) | 1:016x}"
"""With a number behind it, an id of its own for each request: cheaper than a random one, and as unlikely elsewhere."""
_numbers = count(1)
_encode = msgspec.json.Encoder().encode

AiohttpHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def routes(operations: Sequence[Operation], *, verify: Verify) -> list[web.RouteDef]:
    """A route for each operation; a path variable that does not fit its pattern is a 404."""
    return [
        web.RouteDef(
            operation.method,
            _routed(operation.path),
            handler_of(operation, verify=verify),
            {"allow_head": False} if operation.method == "GET" else {},  # a stream's HEAD would never end
        )
        for operation in operations
    ]


def short_ways(doors: Sequence[web.RouteDef]) -> ShortWays:
    """Those of the routes whose path says all, for `runtime.doors.shorten`."""
    return {(door.method, door.path): cast("ShortWay", door.handler) for door in doors if "{" not in door.path}


def handler_of(operation: Operation, *, verify: Verify) -> AiohttpHandler:
    """The aiohttp handler of an operation: never raises, and counts its answers."""
    return _Door(operation, verify).answer


def elsewhere(router: web.UrlDispatcher) -> web.RouteDef:
    """A last route for what no other takes: 404, or 405 where another method would do."""

    async def refuse(request: web.Request) -> web.StreamResponse:
        methods: set[str] = set()
        for resource in router.resources():
            if resource is not request.match_info.route.resource:
                methods |= (await resource.resolve(request))[1]
        refusal = (
            ProblemError(405, "Method Not Allowed", headers={hdrs.ALLOW: ", ".join(sorted(methods))})
            if methods
            else ProblemError(404, "Not Found")
        )
        REQUESTS.labels(UNROUTED, str(refusal.problem.status)).inc()
        return _refused(refusal, _identified(request)[0])

    return web.route("*", r"/{path:[\s\S]*}", refuse)  # a line break may stand in a path too


class _Door:
    """One operation's door."""

    def __init__(self, operation: Operation, verify: Verify) -> None:
        self._operation = operation
        self._handler = operation.handler
        self._scope = operation.scope
        self._verify = verify
        self._decode = None if operation.body is None else msgspec.json.Decoder(operation.body).decode
        self._media = frozenset(((JSON,) if operation.body is not None else ()) + operation.other_media)
        self._conditional = operation.if_match or operation.idempotency_key != "none"
        self._query_names = frozenset(
            field.encode_name for field in (msgspec.structs.fields(operation.query) if operation.query else ())
        )
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._counts: dict[int, Callable[[], None]] = {}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One request, one response."""
        request_id, trace = _identified(request)
        try:
            caller = ANONYMOUS if self._scope is None else await admit(request, self._verify, self._scope)
            query = None if self._operation.query is None and "?" not in request.raw_path else self._query(request)
            tag, key = self._conditions(request) if self._conditional else (None, None)
            body = await self._body(request) if self._media else None
            answer = await self._handler(Call(request, caller, body, query, trace, tag, key, request_id))
            response = self._response(request, answer, request_id) if isinstance(answer, Answer) else answer
        except STORE_ERRORS:
            response = _refused(_store_away(), request_id)
        except Exception as error:  # noqa: BLE001  # the last line: a caller gets a problem, never a traceback
            response = _refused(problem_of(error, method=request.method, route=self._operation.path), request_id)
        self._count(response.status)
        return response

    def _response(self, request: web.Request, answer: Answer, request_id: str) -> web.StreamResponse:
        plain = answer.status == 200 and answer.etag is None and answer.location is None and answer.headers is None
        if plain and answer.body is not None and fits(request):
            body = answer.body if isinstance(answer.body, bytes) else _encode(answer.body)
            return QuickResponse(self._operation.answer_media, request_id, body)
        headers = {REQUEST_ID: request_id, hdrs.CACHE_CONTROL: NO_STORE}
        status, body = answer.status, answer.body
        if answer.headers is not None:
            headers |= {istr(name): value for name, value in answer.headers.items()}
        if answer.location is not None:
            headers[hdrs.LOCATION] = answer.location
        if answer.etag is not None:
            headers[hdrs.ETAG] = f'"{answer.etag}"'
            if self._operation.method == "GET" and _seen(request, answer.etag):
                status, body = 304, None
        if body is not None:
            headers[hdrs.CONTENT_TYPE] = self._operation.answer_media
            if not isinstance(body, bytes):
                body = _encode(body)
        return web.Response(body=body, status=status, headers=headers)

    def _query(self, request: web.Request) -> Any:
        given = request.query
        names = set(given)
        if len(names) != len(given):
            raise ProblemError(400, "Bad request", "a query parameter stands twice")
        if not names <= self._query_names:
            raise ProblemError(400, "Bad request", "an unknown query parameter")
        if self._operation.query is None:
            return None
        try:
            return msgspec.convert(dict(given), self._operation.query, strict=False)
        except msgspec.ValidationError as error:
            raise ProblemError(400, "Bad request", f"query: {_said(error)}") from None

    def _conditions(self, request: web.Request) -> tuple[str | None, str | None]:
        """The entity tag that the caller saw, and the key that makes a repeat harmless."""
        tag = _expected_tag(request) if self._operation.if_match else None
        if self._operation.idempotency_key == "none":
            return tag, None
        key = request.headers.get(IDEMPOTENCY_KEY)
        if key is None and self._operation.idempotency_key == "required":
            raise ProblemError(400, "Bad request", "an Idempotency-Key header is needed")
        if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
            raise ProblemError(400, "Bad request", "Idempotency-Key must be 1 to 64 visible ASCII characters")
        return tag, key

    async def _body(self, request: web.Request) -> Any:
        media = request.headers.get(hdrs.CONTENT_TYPE, "")
        if media != JSON:
            media = media.partition(";")[0].strip().lower()
            if media not in self._media:
                raise ProblemError(415, "Unsupported media type", f"send {' or '.join(sorted(self._media))}")
        most, content = self._operation.max_body_bytes, request.content
        if most > SMALL_BYTES:
            data = await self._read_large(request, most)
        elif content.is_eof() and content.exception() is None and content.total_bytes <= most:
            data = content.read_nowait()  # it came with its headers: nothing to wait for
        else:
            data = await _read(request, most)
        if media != JSON or self._decode is None:
            return data
        if self._operation.other_media and _ARRAY.match(data):
            return data  # many rows: decoded here they could cost a hundred times their size
        try:
            return self._decode(data)
        except msgspec.ValidationError as error:
            detail = _said(error)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            detail = "the body is not JSON"
        raise ProblemError(400, "Bad request", detail)

    async def _read_large(self, request: web.Request, most: int) -> bytes:
        async with self._large:
            try:
                async with asyncio.timeout(LARGE_PATIENCE_S):
                    return await _read(request, most)
            except TimeoutError:
                raise ProblemError(408, "Request Timeout", "the body did not end in time") from None

    def _count(self, status: int) -> None:
        count = self._counts.get(status)
        if count is None:  # finding a labelled counter costs more than counting
            count = self._counts[status] = REQUESTS.labels(self._operation.path, str(status)).inc
        count()


def _routed(path: str) -> str:
    """An OpenAPI path with the pattern of each variable, as aiohttp's router takes it."""
    return re.sub(r"\{(\w+)\}", lambda found: f"{{{found[1]}:{PATH_VARIABLES[found[1]][0]}}}", path)


async def _read(request: web.Request, most: int) -> bytes:
    """The body, decompressed where it comes so; 413 as soon as it is too large, whatever its headers promise."""
    body = bytearray()
    try:
        while len(body) <= most and (chunk := await request.content.readany()):
            body += chunk
    except ConnectionResetError:
        raise ProblemError(400, "Unreadable body", "it ends early") from None
    if len(body) > most:
        raise ProblemError(413, "Content too large", f"at most {most} bytes")
    return bytes(body)


def _said(error: msgspec.ValidationError) -> str:
    """What does not fit and where, without the caller's own words: even the name of a field may be a document."""
    words = str(error)
    if words.startswith(("Expected ", "Object missing required field ")):
        return words
    if words.startswith("Object contains unknown field "):
        return "Object contains unknown field"
    _, at, place = words.rpartition(" - at `$")
    return f"Invalid value{at}{place}" if at else "Invalid value"


def _expected_tag(request: web.Request) -> str:
    """The one strong entity tag of If-Match: an edit must say which version its maker saw (RFC 9110, 13.1.1)."""
    text = ", ".join(request.headers.getall(hdrs.IF_MATCH, []))
    if not text:
        raise ProblemError(428, "Precondition required", "send If-Match with the ETag of the version that you saw")
    found = _ENTITY_TAG.fullmatch(text)
    if found is None:
        raise ProblemError(400, "Bad request", "If-Match must be one entity tag in quotes")
    if found[1]:
        raise ProblemError(412, "Precondition failed", "a weak entity tag matches nothing")
    return found[2]


def _seen(request: web.Request, etag: str) -> bool:
    """Whether If-None-Match names this entity tag, weak or strong."""
    text = ",".join(request.headers.getall(hdrs.IF_NONE_MATCH, []))
    return text.strip() == "*" or any(tag == etag for _, tag in _ENTITY_TAG.findall(text))


def _identified(request: web.Request) -> tuple[str, str]:
    """The request's id and its traceparent: the caller's, or new ones."""
    number = f"{next(_numbers):016x}"
    request_id = given_request_id(request) or _PROCESS + number
    return request_id, given_trace(request) or f"00-{_PROCESS}{number}-{number}-00"


def _store_away() -> ProblemError:
    return ProblemError(503, "Store unavailable", "ask again in a moment", headers={"Retry-After": "1"})


def _refused(problem: ProblemError, request_id: str) -> web.Response:
    response = problem.response()
    response.headers[REQUEST_ID] = request_id
    response.headers[hdrs.CACHE_CONTROL] = NO_STORE
    return response
