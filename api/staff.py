"""What the doors of staff share: the document as it was written, who asks about it, and the act that records it."""

from api.auth import Caller
from api.contract import Call
from permits.documents import canonical
from permits.employees import AuditAct, Deed
from permits.partition import Route
from runtime.problems import ProblemError


def owner_of(route: Route, text: str) -> tuple[int, bytes]:
    """Partition and owner key of a document as written; ProblemError 422 where it is none."""
    document = canonical(text)
    if document is None:
        raise ProblemError(422, "Not a document number", "series and number are needed, as in AZE1234567")
    return route.of_document(document)


def asker_of(caller: Caller, route: Route) -> str:
    """Whose unknown documents are counted: each person's own, under a name that tells nobody who it is."""
    return f"{caller.client}/{route.of_request(caller.subject.encode())}"


def act_of(
    call: Call,
    deed: Deed,
    owner: bytes,
    now_ms: int,
    *,
    reason: str,
    name: str = "",
    from_ms: int = 0,
    until_ms: int = 0,
) -> AuditAct:
    """An act on a document, of which the audit sees the owner key alone; with lists, on its place on one."""
    caller = call.caller
    return AuditAct(
        at_ms=now_ms,
        actor=caller.subject,
        deed=deed,
        reason=reason,
        method=caller.method,
        trace=call.trace,
        owner=owner.hex(),
        client=caller.client,
        list=name,
        from_ms=from_ms,
        until_ms=until_ms,
    )
