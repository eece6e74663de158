"""Who may do what: every operation that the api describes, tried by every role and everybody near an organisation.

A new operation is tried by itself; one of an organisation must say in `NEEDS` what it takes.
"""

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from joserfc.jwk import OKPKey

from api.dev_issuer import METHODS
from api.token_command import SCOPES
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from tests.integration import role_matrix
from tests.integration.api_door import Clock, Http, serving
from tests.integration.organisation_door import DAY_MS, ROW
from tests.integration.role_matrix import (
    CAST,
    FOREIGN,
    NEIGHBOUR_TIN,
    NOWHERE,
    SEALING,
    UNKNOWN_TIN,
    Door,
    Person,
    Premises,
)

OPEN: Final[set[str]] = set()
"""Operations that need no token."""
BESIDE: Final = {
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/docs"),
    ("*", "/{path}"),
}
"""Routes that are no operations: they tell nothing about anybody."""
NEEDS: Final = {
    "show_organisation": "any",
    "grant_delegation": "strong seal",
    "list_delegations": "seal",
    "revoke_delegation": "strong seal",
    "create_permits": "apply",
    "list_permits": "read",
    "show_permit": "read",
    "show_permit_history": "read",
    "edit_permit": "edit",
    "submit_permit": "edit",
    "reactivate_permit": "apply or edit",
    "delete_permit": "cancel",
    "show_import": "read or apply",
    "show_import_report": "read or apply",
}
"""What each operation on an organisation takes: any authority, a power, the seal, or the seal by a strong log-in."""
BODIES: Final[dict[str, Any]] = {
    "grant_delegation": {"fin": "2GRT22A", "name": "Nigar Əliyeva", "powers": ["read"], "until": "2026-06-30"},
    "create_permits": ROW,
    "edit_permit": {"zone": "Gəncə"},
}
REALM: Final = 'Bearer realm="icaze"'
CHALLENGE: Final = (
    f'{REALM}, error="insufficient_user_authentication", error_description="a stronger log-in is needed", '
    f'acr_values="{" ".join(METHODS)}"'
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def http(server: EmbeddedStore, redis: Client, clock: Clock) -> AsyncIterator[Http]:
    async with serving(server.url, clock) as served:
        yield served


@pytest.fixture
async def premises(http: Http, clock: Clock) -> Premises:
    found = Premises(http, clock)
    await found.furnish()
    return found


async def test_each_role_may_do_what_its_scopes_say_and_nothing_else(http: Http, clock: Clock) -> None:
    every = " ".join(SCOPES.values())
    tokens = {role: role_matrix.token(clock, scopes, SEALING) for role, scopes in SCOPES.items()}
    tokens["role without scopes"] = role_matrix.token(clock, "", SEALING)
    invalid = {
        "forged": role_matrix.token(clock, every, SEALING, key=OKPKey.generate_key("Ed25519")),
        "expired": role_matrix.token(clock, every, SEALING, ago_ms=DAY_MS),
    }
    wrong: list[str] = []
    for door in await role_matrix.doors(http):
        for name, token in {"nobody": None, **invalid, **tokens}.items():
            if door.scope is None or door.scope in SCOPES.get(name, "").split():
                expected = "let in"
            elif token is None:
                expected = f"401 {REALM}"
            elif name in invalid:
                expected = f'401 {REALM}, error="invalid_token"'
            else:
                expected = f'403 {REALM}, error="insufficient_scope", scope="{door.scope}"'
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            async with http.request(door.method, door.at(), headers=headers) as answer:
                shut = answer.status in (401, 403, 500)
                got = f"{answer.status} {answer.headers.get('WWW-Authenticate')}" if shut else "let in"
            if got != expected:
                wrong.append(f"{door.name}, {name}: {got}, expected {expected}")
    assert not wrong, "\n".join(wrong)


async def test_each_operation_is_some_roles_and_none_is_open(http: Http) -> None:
    described = await role_matrix.doors(http)
    assert {door.name for door in described if door.scope is None} == OPEN
    assert {door.scope for door in described} - {None} <= set(" ".join(SCOPES.values()).split())
    routed = {
        (route.method, route.resource.canonical)
        for route in http.app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert routed - {(door.method, door.path) for door in described} == BESIDE


async def test_each_organisations_operation_takes_what_it_needs_and_is_hidden_from_outsiders(
    http: Http, premises: Premises
) -> None:
    described = of_organisations(await role_matrix.doors(http))
    assert {door.name for door in described} == NEEDS.keys()
    wrong: list[str] = []
    for door in described:
        for name, person in CAST.items():
            expected, got = expected_of(person, NEEDS[door.name]), await got_of(premises, door, person)
            if got != expected:
                wrong.append(f"{door.name}, {name}: {got}, expected {expected}")
    assert not wrong, "\n".join(wrong)


async def test_nothing_of_an_organisation_is_reached_through_another(http: Http, premises: Premises) -> None:
    variables = premises.variables | {"tin": NEIGHBOUR_TIN}
    wrong: list[str] = []
    for door in of_organisations(await role_matrix.doors(http)):
        if len(door.examples) == 1:
            continue
        body = BODIES.get(door.name)
        seen = await premises.seen(FOREIGN, door.method, door.at(**variables), body)
        if seen != await premises.seen(FOREIGN, door.method, NOWHERE, body) or seen[0] != 404:
            wrong.append(f"{door.name}: {seen}")
    assert not wrong, "\n".join(wrong)


def of_organisations(described: list[Door]) -> list[Door]:
    """The operations on one organisation."""
    return [door for door in described if door.path.startswith("/v1/organisations/{tin}")]


def expected_of(person: Person, need: str) -> str:
    """What a person must get."""
    if not person.may:
        return "hidden"
    if need == "any" or not person.may.isdisjoint(need.split(" or ")):
        return "passed"
    return "challenged" if need == "strong seal" and "seal" in person.may else "forbidden"


async def got_of(premises: Premises, door: Door, person: Person) -> str:
    """What a person gets; a state that does not fit comes after the question who asks, so it has passed, too."""
    body, variables = BODIES.get(door.name), premises.variables
    seen = await premises.seen(person.claims, door.method, door.at(**variables), body)
    status, headers, _ = seen
    if status in (200, 201, 202, 304, 409, 412):
        return "passed"
    if status == 401 and headers.get("WWW-Authenticate") == CHALLENGE:
        return "challenged"
    if status == 403 and "WWW-Authenticate" not in headers:
        return "forbidden"
    if status == 404:
        unknown = door.at(**variables | {"tin": UNKNOWN_TIN})
        others = [await premises.seen(person.claims, door.method, path, body) for path in (unknown, NOWHERE)]
        return "hidden" if others == [seen, seen] else "a 404 of its own"
    return str(seen)
