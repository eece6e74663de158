"""The http operator: a POST of up to 100 replies, each with its own result in the answer.

A reply's id is its idempotency key.
"""

from collections.abc import Sequence

from dispatch.operators.port import Outcome, Parcel
from dispatch.post import Poster


class HttpOperator:
    """A gateway behind one URL."""

    def __init__(self, url: str, *, timeout_s: float, connections: int) -> None:
        self._poster = Poster(url, timeout_s=timeout_s, connections=connections, receiver="the operator")

    async def send(self, parcels: Sequence[Parcel]) -> Outcome:
        """POST the replies; every kind of failure becomes an outcome."""
        body = b"[" + b",".join([parcel.wire() for parcel in parcels]) + b"]"
        return await self._poster.post(body, ids=frozenset([parcel.id for parcel in parcels]))

    async def close(self) -> None:
        """Close the connections."""
        await self._poster.close()
