"""The OpenAPI 3.1 description of the api, made from the registry of operations. Served at `/openapi.json`."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from api.contract import JSON, PATH_VARIABLES, Operation
from api.door import IDEMPOTENCY_KEY, IDEMPOTENCY_KEY_PATTERN, REQUEST_ID, SMALL_BYTES
from runtime.problems import MEDIA_TYPE, Problem

Json = dict[str, Any]

_SCHEMAS: Final = "#/components/schemas/"
_INFO: Final = {
    "title": "icaze",
    "version": "1",
    "summary": "Permits by SMS and by organisations",
    "description": (
        "Every error is application/problem+json (RFC 9457) and repeats nothing of what was sent. 400 is what this "
        "description rules out; 422 is what fits it and still cannot be done. Times are RFC 3339 in UTC. A request's "
        "X-Request-Id is echoed, its traceparent (W3C) is carried on."
    ),
    "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
}
_PROBLEMS: Final = {
    400: "Unreadable: a parameter, header or body that does not fit this description",
    401: "No token, or one that does not count; or a stronger log-in is needed",
    403: "The token does not allow this",
    404: "Not there, or not the caller's",
    408: "The body did not end in time",
    409: "Not in its present state",
    412: "Changed since the version that If-Match names",
    413: "The body is too large",
    415: "Another media type is needed",
    422: "Well-formed, and not acceptable",
    428: "If-Match is needed",
    429: "Too much; Retry-After says when again",
    503: "The store or a service behind it is away; Retry-After says when again",
}
_PROBLEM_HEADERS: Final = {401: "Challenge", 429: "RetryAfter", 503: "RetryAfter"}
_HEADERS: Final[Json] = {
    "RequestId": {"description": "the request's id", "required": True, "schema": {"type": "string"}},
    "ETag": {"description": "the version shown", "required": True, "schema": {"type": "string"}},
    "Location": {"description": "where the new one is", "schema": {"type": "string"}},
    "RetryAfter": {"description": "seconds", "required": True, "schema": {"type": "string", "pattern": "^[0-9]+$"}},
    "Challenge": {"description": "RFC 6750", "required": True, "schema": {"type": "string"}},
}


def document(operations: Sequence[Operation]) -> Json:
    """The whole description."""
    used = [kind for operation in operations for kind in _types(operation)]
    found, schemas = msgspec.json.schema_components([Problem, *used], ref_template=f"{_SCHEMAS}{{name}}")
    shown = dict(zip(map(id, used), found[1:], strict=True))
    paths: dict[str, Json] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation, shown, schemas)
    for operation in operations:
        if operation.query is not None:
            schemas.pop(_name(shown[id(operation.query)]), None)  # its fields stand as parameters
    problems = sorted({status for operation in operations for status in problems_of(operation)})
    scopes = sorted({operation.scope for operation in operations if operation.scope is not None})
    return {
        "openapi": "3.1.0",
        "info": _INFO,
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in operations)],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {str(status): _problem(status, found[0]) for status in problems},
            "headers": _HEADERS,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": f"a token with the operation's scope, one of: {', '.join(scopes)}",
                }
            },
        },
    }


def problems_of(operation: Operation) -> list[int]:
    """Every status of a problem that the operation can end with: its own and those of its door."""
    statuses = {400, 503, *operation.problems}
    if operation.scope is not None:
        statuses |= {401, 403}
    if "{" in operation.path:
        statuses.add(404)
    if operation.body is not None or operation.other_media:
        statuses |= {413, 415} if operation.max_body_bytes <= SMALL_BYTES else {408, 413, 415}
    if operation.if_match:
        statuses |= {412, 428}
    return sorted(statuses)


def _types(operation: Operation) -> list[Any]:
    return [kind for kind in (operation.body, operation.query, *operation.answers.values()) if kind is not None]


def _name(schema: Json) -> str:
    return schema.get("$ref", "").removeprefix(_SCHEMAS)


def _described(operation: Operation, shown: dict[int, Json], schemas: Json) -> Json:
    described: Json = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "security": [] if operation.scope is None else [{"bearer": [operation.scope]}],
        "parameters": _parameters(operation, shown, schemas),
        "responses": _responses(operation, shown),
    }
    bodies: Json = {media: {} for media in operation.other_media}
    if operation.body is not None:
        bodies[JSON] = {"schema": shown[id(operation.body)]}
    if bodies:
        described["requestBody"] = {"required": True, "content": bodies}
    return described


def _parameters(operation: Operation, shown: dict[int, Json], schemas: Json) -> list[Json]:
    parameters: list[Json] = []
    for name, (pattern, meaning, example) in PATH_VARIABLES.items():
        if f"{{{name}}}" in operation.path:
            schema = {"type": "string", "pattern": f"^{pattern}$"}
            parameters.append(_parameter("path", name, schema, required=True, description=meaning, example=example))
    if operation.query is not None:
        fields = schemas[_name(shown[id(operation.query)])]
        for name, schema in fields["properties"].items():
            parameters.append(_parameter("query", name, schema, required=name in fields.get("required", ())))
    if operation.etag and operation.method == "GET":
        meaning = "the ETag last seen: 304 where it still stands"
        parameters.append(
            _parameter("header", "If-None-Match", {"type": "string"}, required=False, description=meaning)
        )
    if operation.if_match:
        schema = {"type": "string", "pattern": r'^"[\x21\x23-\x7e]*"$'}
        parameters.append(_parameter("header", "If-Match", schema, required=True, description="the ETag last seen"))
    if operation.idempotency_key != "none":
        schema = {"type": "string", "pattern": f"^{IDEMPOTENCY_KEY_PATTERN}$"}
        required = operation.idempotency_key == "required"
        meaning = "a repeat with the same key does nothing again"
        parameters.append(_parameter("header", str(IDEMPOTENCY_KEY), schema, required=required, description=meaning))
    return parameters


def _parameter(place: str, name: str, schema: Json, *, required: bool, **more: str) -> Json:
    return {"in": place, "name": name, "required": required, "schema": schema, **more}


def _responses(operation: Operation, shown: dict[int, Json]) -> Json:
    tagged = _headers("RequestId", *(["ETag"] if operation.etag else []))
    responses: Json = {}
    for status, kind in operation.answers.items():
        headers = _headers("RequestId") if status == HTTPStatus.ACCEPTED else tagged  # what is under way has no version
        located = _headers("Location") if status in (HTTPStatus.CREATED, HTTPStatus.ACCEPTED) else {}
        response: Json = {"description": HTTPStatus(status).phrase, "headers": headers | located}
        if kind is not None:
            response["content"] = {operation.answer_media: {"schema": shown[id(kind)]}}
        responses[str(status)] = response
    if operation.etag and operation.method == "GET":
        responses["304"] = {"description": "the version that If-None-Match names", "headers": tagged}
    for status in problems_of(operation):
        responses[str(status)] = {"$ref": f"#/components/responses/{status}"}
    return responses


def _problem(status: int, schema: Json) -> Json:
    more = _PROBLEM_HEADERS.get(status)
    return {
        "description": _PROBLEMS[status],
        "headers": _headers("RequestId", *([more] if more else [])),
        "content": {MEDIA_TYPE: {"schema": schema}},
    }


def _headers(*names: str) -> Json:
    said = {"RequestId": str(REQUEST_ID), "RetryAfter": "Retry-After", "Challenge": "WWW-Authenticate"}
    return {said.get(name, name): {"$ref": f"#/components/headers/{name}"} for name in names}
