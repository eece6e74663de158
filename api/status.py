"""`POST /v1/status`: the permits of one document or one person, for mygov.az.

Reads by `holders`, within the limits of `guessing`. What is asked stands in the body only, and never leaves this
module.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from api.contract import Answer, Call, Operation
from api.guessing import Guessing, client_of
from api.holders import Holders
from api.standing import Permit
from permits import documents, fin
from runtime.problems import ProblemError

SCOPE: Final = "status"
MOST_SUBJECT: Final = 64
Subject = Annotated[str, Meta(min_length=1, max_length=MOST_SUBJECT)]


class StatusQuestion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose permits: of a document, or of a person as an employee."""

    document: Annotated[
        str | None, Meta(description="series and number, in any script or spacing", examples=["AZE1111111"])
    ] = None
    fin: Annotated[str | None, Meta(description="personal code", examples=["1A2B3C4"])] = None
    subject: Annotated[Subject | None, Meta(description="opaque name of the citizen who asks; limits count by it")] = (
        None
    )


class StatusAnswer(msgspec.Struct, frozen=True):
    """Permits and refusals, newest first; who is unknown has none."""

    permits: list[Permit]


class Status:
    """The operation and what it needs."""

    def __init__(self, holders: Holders, guessing: Guessing) -> None:
        self._holders = holders
        self._guessing = guessing

    def operations(self) -> list[Operation]:
        """What this module adds to the api."""
        return [
            Operation(
                method="POST",
                path="/v1/status",
                name="ask_status",
                summary="Permits and refusals of a document, or a person's permits as an employee",
                tag="citizens",
                handler=self.ask,
                scope=SCOPE,
                body=StatusQuestion,
                answers={200: StatusAnswer},
                problems=(422, 429),
            )
        ]

    async def ask(self, call: Call) -> Answer:
        """One question, one answer."""
        question: StatusQuestion = call.body
        client = client_of(call.caller)
        self._guessing.admit(client, question.subject)
        if question.document is not None and question.fin is None:
            document = documents.canonical(question.document)
            if document is None:
                raise ProblemError(422, "Not a document number", "series and number are needed, as in AZE1234567")
            owner = self._holders.route.of_document(document)
            found = await self._holders.of_document(owner)
        elif question.fin is not None and question.document is None:
            person = fin.canonical(question.fin)
            if person is None:
                raise ProblemError(422, "Not a personal code", "seven letters and digits are needed, as in 1A2B3C4")
            owner = self._holders.route.of_person(person)
            found = await self._holders.of_person(owner)
        else:
            raise ProblemError(422, "Not one question", "send either document or fin")
        self._guessing.tell(client, question.subject, owner[1], found=bool(found))
        return Answer(body=StatusAnswer([known.permit for known in found]))
