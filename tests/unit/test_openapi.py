"""The description of the api: whole, valid, and the same as what runs."""

import re
from typing import Annotated, Any, Final

import jsonschema_rs
import msgspec
import pytest
import schemathesis
from aiohttp.web import UrlDispatcher
from msgspec import Meta

from api import openapi
from api.app import build_app
from api.auth import no_issuer
from api.contract import PATH_VARIABLES, Answer, Call, Operation
from api.wires import Wires
from runtime.connection import Wire
from tests.integration.api_door import Clock, operations

REGISTRY: Final = operations(Wires("unix:///nowhere"), Wire("unix:///nowhere"), Clock())
DOCUMENT: Final = openapi.document(REGISTRY)


async def readiness() -> dict[str, Any]:
    return {"ready": True}


def running() -> set[tuple[str, str]]:
    """(method, path) of every route of the application under /v1."""
    router: UrlDispatcher = build_app(REGISTRY, verify=no_issuer, readiness=readiness).router
    found = {(route.method, "" if route.resource is None else route.resource.canonical) for route in router.routes()}
    return {(method, path) for method, path in found if path.startswith("/v1")}


def described(document: openapi.Json) -> set[tuple[str, str]]:
    return {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}


def test_registry_routes_and_description_name_the_same_operations() -> None:
    listed = {(operation.method, operation.path) for operation in REGISTRY}
    assert len(listed) == len(REGISTRY)
    assert running() == listed == described(DOCUMENT)


def test_names_of_operations_are_unique() -> None:
    names = [operation.name for operation in REGISTRY]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("operation", REGISTRY, ids=lambda operation: operation.name)
def test_each_operation_says_what_it_is_for_and_who_may_call_it(operation: Operation) -> None:
    assert operation.summary
    assert operation.tag
    assert operation.scope is None or operation.scope == operation.scope.strip() != ""
    assert any(200 <= status < 300 for status in operation.answers)
    assert not operation.if_match or operation.method != "GET"


class Inner(msgspec.Struct, frozen=True):
    """Inside."""

    number: int


class Query(msgspec.Struct, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=500, description="rows")] = 50
    state: str | None = None


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    inner: list[Inner]


async def nothing(call: Call) -> Answer:
    return Answer(None, 204)


EDIT: Final = Operation(
    method="PUT",
    path="/v1/organisations/{tin}/things/{code}",
    name="edit_thing",
    summary="Edit a thing",
    tag="things",
    handler=nothing,
    scope="organisation",
    body=Body,
    other_media=("text/csv",),
    query=Query,
    answers={200: Body, 201: Inner, 204: None},
    problems=(409,),
    etag=True,
    if_match=True,
    idempotency_key="required",
)
LOOK: Final = Operation(
    method="GET",
    path="/v1/things",
    name="look",
    summary="Look",
    tag="things",
    handler=nothing,
    scope=None,
    answers={200: list[Inner]},
    etag=True,
)


DOCUMENTS: Final = pytest.mark.parametrize(
    "document", [DOCUMENT, openapi.document([EDIT, LOOK])], ids=["registry", "rich"]
)


@DOCUMENTS
def test_the_document_is_valid_openapi_3_1(document: openapi.Json) -> None:
    schemathesis.openapi.from_dict(msgspec.json.decode(msgspec.json.encode(document))).validate()
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})


@DOCUMENTS
def test_every_reference_leads_somewhere(document: openapi.Json) -> None:
    named = re.findall(r'"\$ref":"#/([^"]+)"', msgspec.json.encode(document).decode())
    assert named
    for reference in named:
        at: Any = document
        for step in reference.split("/"):
            at = at[step]


def test_an_operation_is_described_with_all_that_its_door_asks_for() -> None:
    document = openapi.document([EDIT, LOOK])
    edit = document["paths"][EDIT.path]["put"]
    assert edit["security"] == [{"bearer": ["organisation"]}]
    parameters = {(each["in"], each["name"]): each for each in edit["parameters"]}
    assert {place: each["required"] for place, each in parameters.items()} == {
        ("path", "tin"): True,
        ("path", "code"): True,
        ("query", "limit"): False,
        ("query", "state"): False,
        ("header", "If-Match"): True,
        ("header", "Idempotency-Key"): True,
    }
    assert parameters["query", "limit"]["schema"]["maximum"] == 500
    assert parameters["path", "tin"]["example"] == PATH_VARIABLES["tin"][2]
    assert set(edit["requestBody"]["content"]) == {"application/json", "text/csv"}
    problems = {"400", "401", "403", "404", "409", "412", "413", "415", "428", "503"}
    assert set(edit["responses"]) == {"200", "201", "204", *problems}
    assert "content" not in edit["responses"]["204"]
    assert "Location" in edit["responses"]["201"]["headers"]
    assert "ETag" in edit["responses"]["200"]["headers"]
    assert {"Problem", "Body", "Inner"} <= set(document["components"]["schemas"])
    assert "Query" not in document["components"]["schemas"]


def test_an_operation_of_large_bodies_may_find_that_one_does_not_end() -> None:
    large = msgspec.structs.replace(EDIT, max_body_bytes=32 << 20)
    found = openapi.document([large])
    assert found["paths"][EDIT.path]["put"]["responses"]["408"] == {"$ref": "#/components/responses/408"}
    assert "408" in found["components"]["responses"]


def test_an_open_operation_asks_for_no_token() -> None:
    look = openapi.document([EDIT, LOOK])["paths"][LOOK.path]["get"]
    assert look["security"] == []
    assert set(look["responses"]) == {"200", "304", "400", "503"}
    assert [each["name"] for each in look["parameters"]] == ["If-None-Match"]


def test_path_variables_have_examples_that_fit() -> None:
    for pattern, _, example in PATH_VARIABLES.values():
        jsonschema_rs.validator_for({"type": "string", "pattern": f"^{pattern}$"}).validate(example)
