"""A POST of many items whose answer has a result for each: to the operator's gateway, and to the Ministry.

The answer of a 200 is `{"results": [{"id", "status": "accepted"|"retry"|"refused", "error"?}]}`, in any order; what
it does not name counts as `retry`. Every kind of failure becomes an outcome.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import aiohttp
import msgspec

from dispatch.operators.port import Outcome
from runtime.outside import wished_pause_s

LONGEST_PAUSE_S: Final = 60.0
ERROR_PAUSE_S: Final = 0.5
MISCONFIGURED_PAUSE_S: Final = 5.0
LONGEST_CONNECT_S: Final = 3.0
"""Below the patience with a request, so that a gateway that is cut off is told from one that may have taken it."""
_HEADERS: Final = {"Content-Type": "application/json"}


class _Result(msgspec.Struct, gc=False):
    id: str
    status: Literal["accepted", "retry", "refused"]
    error: str | None = None


class _Answer(msgspec.Struct):
    results: list[_Result]


class _LooseAnswer(msgspec.Struct):
    results: list[Any]


_ANSWER: Final = msgspec.json.Decoder(_Answer)
_LOOSE_ANSWER: Final = msgspec.json.Decoder(_LooseAnswer)


class Poster:
    """Posts to one URL; connections are made on first use."""

    def __init__(self, url: str, *, timeout_s: float, connections: int, receiver: str) -> None:
        self._url = url
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(timeout_s / 2, LONGEST_CONNECT_S))
        self._connections = connections
        self._receiver = receiver
        """Who refuses, where the answer says no more."""
        self._session: aiohttp.ClientSession | None = None

    async def post(self, body: bytes, *, ids: frozenset[str], headers: Mapping[str, str] | None = None) -> Outcome:
        """What became of the items in a body; never raises for a receiver that misbehaves."""
        sent = _HEADERS | dict(headers or {})
        try:
            async with self.opened().post(self._url, data=body, headers=sent, allow_redirects=False) as response:
                if response.status == 200:
                    return _outcome(await response.read(), self._receiver)
                return _failure(response.status, response.headers.get("Retry-After"))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            return Outcome(retry=ids, pause_s=ERROR_PAUSE_S, cause="unreachable")
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            return Outcome(unknown=True, pause_s=ERROR_PAUSE_S, cause=type(error).__name__)

    def opened(self) -> aiohttp.ClientSession:
        """The connections."""
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self._connections)
            self._session = aiohttp.ClientSession(timeout=self._timeout, connector=connector)
        return self._session

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()


def _outcome(body: bytes, receiver: str) -> Outcome:
    """Of a 200; an answer that cannot be read leaves everything unknown."""
    try:
        results = _results(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Outcome(unknown=True, pause_s=ERROR_PAUSE_S, cause="unreadable_answer")
    accepted = frozenset([r.id for r in results if r.status == "accepted"])
    if len(accepted) == len(results):
        return Outcome(accepted=accepted, unknown=True, cause="retry")
    return Outcome(
        accepted=accepted,
        refused={r.id: r.error or f"refused by {receiver}" for r in results if r.status == "refused"},
        retry=frozenset(r.id for r in results if r.status == "retry"),
        unknown=True,
        cause="retry",
    )


def _results(body: bytes) -> list[_Result]:
    """The results that can be read: one odd one does not make the others unknown."""
    try:
        return _ANSWER.decode(body).results
    except msgspec.ValidationError:
        results: list[_Result] = []
        for loose in _LOOSE_ANSWER.decode(body).results:
            try:
                results.append(msgspec.convert(loose, _Result))
            except msgspec.ValidationError:
                continue
        return results


def _failure(status: int, retry_after: str | None) -> Outcome:
    """Of any other status: 429, 503, 3xx and 4xx took nothing; a 5xx, or a 2xx without results, may have.

    What is neither an overload nor a fault needs a person.
    """
    if status in (429, 503):
        return Outcome(pause_s=_pause(retry_after), cause=f"status_{status}")
    if status < 500:
        return Outcome(unknown=status < 300, pause_s=MISCONFIGURED_PAUSE_S, cause=f"status_{status}")
    return Outcome(unknown=True, pause_s=_pause(retry_after), cause=f"status_{status}")


def _pause(retry_after: str | None) -> float:
    wished_s = wished_pause_s(retry_after, longest_s=LONGEST_PAUSE_S)
    return ERROR_PAUSE_S if wished_s is None else wished_s
