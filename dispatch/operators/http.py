"""The http operator: a POST of up to 100 replies, each with its own result in the answer.

A reply's id is its idempotency key. What the answer does not name counts as `retry`.
"""

from collections.abc import Sequence
from typing import Final, Literal

import aiohttp
import msgspec

from dispatch.operators.port import Outcome, Parcel

LONGEST_PAUSE_S: Final = 60.0
ERROR_PAUSE_S: Final = 0.5
MISCONFIGURED_PAUSE_S: Final = 5.0
_HEADERS: Final = {"Content-Type": "application/json"}


class _Result(msgspec.Struct):
    id: str
    status: Literal["accepted", "retry", "refused"]
    error: str = ""


class _Answer(msgspec.Struct):
    results: list[_Result]


_ANSWER: Final = msgspec.json.Decoder(_Answer)


class HttpOperator:
    """A gateway behind one URL."""

    def __init__(self, url: str, *, timeout_s: float, connections: int) -> None:
        self._url = url
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def send(self, parcels: Sequence[Parcel]) -> Outcome:
        """POST the replies; every kind of failure becomes an outcome."""
        body = b"[" + b",".join(parcel.wire() for parcel in parcels) + b"]"
        try:
            async with self._opened().post(self._url, data=body, headers=_HEADERS) as response:
                if response.status == 200:
                    return _outcome(await response.read())
                return _failure(response.status, response.headers.get("Retry-After"))
        except aiohttp.ClientConnectorError:
            return Outcome(retry=_ids(parcels), pause_s=ERROR_PAUSE_S, cause="unreachable")
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            return Outcome(unknown=True, pause_s=ERROR_PAUSE_S, cause=type(error).__name__)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self._connections)
            self._session = aiohttp.ClientSession(timeout=self._timeout, connector=connector)
        return self._session


def _outcome(body: bytes) -> Outcome:
    """Of a 200; an answer that cannot be read leaves everything unknown."""
    try:
        results = _ANSWER.decode(body).results
    except msgspec.DecodeError:
        return Outcome(unknown=True, pause_s=ERROR_PAUSE_S, cause="unreadable_answer")
    return Outcome(
        accepted=frozenset(r.id for r in results if r.status == "accepted"),
        refused={r.id: r.error or "refused by the operator" for r in results if r.status == "refused"},
        retry=frozenset(r.id for r in results if r.status == "retry"),
        unknown=True,
        cause="retry",
    )


def _failure(status: int, retry_after: str | None) -> Outcome:
    """Of any other status: 429 and 503 took nothing; a 4xx took nothing and needs a person; a 5xx may have."""
    if status in (429, 503):
        return Outcome(pause_s=_pause(retry_after), cause=f"status_{status}")
    if status < 500:
        return Outcome(pause_s=MISCONFIGURED_PAUSE_S, cause=f"status_{status}")
    return Outcome(unknown=True, pause_s=_pause(retry_after), cause=f"status_{status}")


def _pause(retry_after: str | None) -> float:
    try:
        return min(max(float(retry_after or ERROR_PAUSE_S), 0.0), LONGEST_PAUSE_S)
    except ValueError:
        return ERROR_PAUSE_S


def _ids(parcels: Sequence[Parcel]) -> frozenset[str]:
    return frozenset(parcel.id for parcel in parcels)
