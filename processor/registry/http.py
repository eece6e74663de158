"""A registry of persons behind one URL: a POST of up to 100 employees, with a result for each in the answer.

Asked is `[{"ref", "fin", "document", "name"}]`; the answer of a 200 is `{"results": [{"ref", "status":
"confirmed"|"refused"|"retry", "reason"?}]}` in any order. What it does not name counts as `retry`, and so does what it
names twice in different ways.
"""

import secrets
from collections.abc import Sequence
from typing import Any, Final, Literal, get_args

import aiohttp
import msgspec

from permits.employees import Employee
from permits.messages import ENCODER
from processor.registry.port import CONFIRMED, UNKNOWN, Reason, RegistryAwayError, Verdict
from runtime.outside import wished_pause_s

PATIENCE_S: Final = 10.0
CONNECT_S: Final = 3.0
CONNECTIONS: Final = 8
LONGEST_PAUSE_S: Final = 30.0
MOST_BYTES: Final = 1 << 20
"""Of an answer: a hundred results need a hundredth of it."""
_HEADERS: Final = {"Content-Type": "application/json"}
_REASONS: Final[dict[object, Reason]] = {reason: reason for reason in get_args(Reason)}


class _Question(msgspec.Struct, frozen=True):
    ref: str
    fin: str
    document: str
    name: str


class _Result(msgspec.Struct, frozen=True):
    ref: str
    status: Literal["confirmed", "refused", "retry"]
    reason: Any = None


class _Answer(msgspec.Struct, frozen=True):
    results: list[Any]


_ANSWER: Final = msgspec.json.Decoder(_Answer)


class HttpRegistry:
    """Asks the registry; connections are made on first use."""

    def __init__(self, url: str, *, patience_s: float = PATIENCE_S) -> None:
        self._url = url
        self._timeout = aiohttp.ClientTimeout(total=patience_s, sock_connect=min(patience_s, CONNECT_S))
        self._session: aiohttp.ClientSession | None = None

    async def confirm(self, employees: Sequence[Employee]) -> Sequence[Verdict]:
        """The registry's word on each; every kind of failure is a RegistryAwayError."""
        # Of this question alone, so that an answer to another one says nothing of ours.
        question = secrets.token_hex(8)
        refs = [f"{question}-{at}" for at in range(len(employees))]
        asked = [_Question(ref, one.fin, one.document, one.name) for ref, one in zip(refs, employees, strict=True)]
        said = _said(await self._answer(ENCODER.encode(asked)))
        return [said.get(ref, UNKNOWN) for ref in refs]

    async def _answer(self, question: bytes) -> bytes:
        try:
            async with self._opened().post(
                self._url, data=question, headers=_HEADERS, allow_redirects=False
            ) as response:
                if response.status != 200:
                    pause_s = wished_pause_s(response.headers.get("Retry-After"), longest_s=LONGEST_PAUSE_S)
                    raise RegistryAwayError(f"status_{response.status}", pause_s or 0.0)
                return await _body(response)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise RegistryAwayError("unreachable") from None
        except TimeoutError:
            raise RegistryAwayError("timeout") from None
        except (aiohttp.ClientError, OSError) as error:
            raise RegistryAwayError(type(error).__name__) from None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout,
                connector=aiohttp.TCPConnector(limit=CONNECTIONS),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MOST_BYTES:
            raise RegistryAwayError("too_large")
    return bytes(body)


def _said(body: bytes) -> dict[str, Verdict]:
    """The verdicts by ref; one odd result does not make the others unknown."""
    try:
        results = _ANSWER.decode(body).results
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RegistryAwayError("unreadable_answer") from None
    said: dict[str, Verdict] = {}
    for loose in results:
        try:
            result = msgspec.convert(loose, _Result)
        except msgspec.ValidationError:
            continue
        verdict = _verdict(result)
        if said.setdefault(result.ref, verdict) != verdict:
            said[result.ref] = UNKNOWN
    return said


def _verdict(result: _Result) -> Verdict:
    if result.status == "confirmed":
        return CONFIRMED
    if result.status == "retry":
        return UNKNOWN
    # A reason of its own words may name the person.
    reason = result.reason if isinstance(result.reason, str) else ""
    return Verdict("refused", _REASONS.get(reason, "not_confirmed"))
