"""`GET /v1/me/permits`: the permits of the citizen who has logged in, past and present.

Reads by `holders`, for the documents and the personal code that the token itself names: nothing else can be asked.
"""

from typing import Final

import msgspec

from api.contract import Answer, Call, Operation
from api.guessing import Guessing
from api.holders import Holders
from api.standing import Permit
from runtime.problems import ProblemError

SCOPE: Final = "me"


class MyPermits(msgspec.Struct, frozen=True):
    """Permits by SMS and of employers, and refusals with their reasons; newest first."""

    permits: list[Permit]


class MeDoor:
    """The operation and what it needs."""

    def __init__(self, holders: Holders, guessing: Guessing) -> None:
        self._holders = holders
        self._guessing = guessing

    def operations(self) -> list[Operation]:
        """What this module adds to the api."""
        return [
            Operation(
                method="GET",
                path="/v1/me/permits",
                name="list_my_permits",
                summary="The permits of whoever has logged in",
                tag="citizens",
                handler=self.mine,
                scope=SCOPE,
                answers={200: MyPermits},
                problems=(429,),
            )
        ]

    async def mine(self, call: Call) -> Answer:
        """The caller's own permits."""
        caller, route = call.caller, self._holders.route
        self._guessing.admit(caller.client, caller.subject)
        if caller.fin is None and not caller.documents:
            raise ProblemError(403, "Forbidden", "the token names neither a personal code nor a document")
        owners = [route.of_document(document) for document in caller.documents]
        person = None if caller.fin is None else route.of_person(caller.fin)
        found = await self._holders.of_citizen(owners, person)
        return Answer(body=MyPermits([known.permit for known in found]))
