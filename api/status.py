"""`POST /v1/status`: the permits and refusals of one document, for mygov.az.

Reads the document's field in the day records of the last days, in one round trip. The document stands in the body
only, and never leaves this module.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from aiohttp import web

from api.auth import Verify, admit
from api.standing import Permit, standing
from api.wires import Wires
from lua.keys import PartitionKeys
from permits.calendar import day_name, local_day
from permits.documents import canonical
from permits.partition import FIELD_BYTES, Route
from permits.policy import Policy
from runtime.connection import STORE_ERRORS
from runtime.problems import ProblemError

SCOPE: Final = "status"


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request."""

    document: str


class Answer(msgspec.Struct, frozen=True):
    """The body of an answer; an unknown document has an empty list."""

    permits: list[Permit]


class StatusDoor:
    """The handler and what it needs."""

    def __init__(
        self,
        *,
        wires: Wires,
        partitions: Sequence[PartitionKeys],
        route: Route,
        policy: Policy,
        verify: Verify,
        now_ms: Callable[[], int],
    ) -> None:
        self._wires = wires
        self._partitions = partitions
        self._route = route
        self._policy = policy
        self._verify = verify
        self._now_ms = now_ms

    async def ask(self, request: web.Request) -> web.Response:
        """One question, one answer."""
        admit(request, self._verify, SCOPE)
        document = canonical(_question(await request.read()).document)
        if document is None:
            raise ProblemError(422, "Not a document number", "series and number are needed, as in AZE1234567")
        answer = Answer(permits=await self._permits(document))
        return web.Response(
            body=msgspec.json.encode(answer), content_type="application/json", headers={"Cache-Control": "no-store"}
        )

    async def _permits(self, document: str) -> list[Permit]:
        partition, owner = self._route.of_document(document)
        now_ms = self._now_ms()
        today = local_day(now_ms)
        keys = self._partitions[partition]
        days = range(today, today - self._policy.keep_days - 1, -1)
        try:
            records = await self._wires.read(*(("HGET", keys.day(day_name(day)), owner[:FIELD_BYTES]) for day in days))
        except STORE_ERRORS:
            raise ProblemError(
                503, "Store unavailable", "ask again in a moment", headers={"Retry-After": "1"}
            ) from None
        return standing(records, partition=partition, owner=owner, policy=self._policy, now_ms=now_ms)


def _question(body: bytes) -> Question:
    """The body read; no error repeats any of it, since even the name of a field may be a document."""
    try:
        return msgspec.json.decode(body, type=Question)
    except msgspec.ValidationError:
        detail = 'the body must be a JSON object with the one field "document", a string'
    except (msgspec.DecodeError, UnicodeDecodeError):
        detail = "the body is not JSON"
    raise ProblemError(400, "Bad request", detail)
