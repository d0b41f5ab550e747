"""The description of the calls in OpenAPI 3.1, made of the table and of the types that decode the bodies."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import Struct

from greenchat import __version__
from greenchat.http.answers import PROBLEM
from greenchat.http.api.bodies import NewMessage, Page, Place, Problem
from greenchat.http.api.json import JSON
from greenchat.http.api.table import OPERATIONS, Operation
from greenchat.http.call import Call, Response, Route

PATH = "/api/v1/openapi.json"

OF_ALL = (400, 408, 421, 429, 431, 503)
"""Statuses with which any call may fail."""

OF_CALLERS = (401, 403)
"""The same of calls that need a token."""

TOKEN = {"type": "http", "scheme": "bearer"}
COOKIE = {
    "type": "apiKey",
    "in": "cookie",
    "name": "__Host-greenchat",
    "description": "On loopback the name ends in a hyphen and eight hexadecimal digits of the server's;"
    " elsewhere without TLS it is greenchat.",
}

KEY_SCHEMA = {"type": "string", "minLength": 1, "maxLength": 36, "pattern": "^[!-~]+$"}

HEADER_SCHEMAS: dict[str, dict[str, Any]] = {
    "Idempotency-Key": KEY_SCHEMA,
    "Last-Event-ID": {"type": "string"},
}


def openapi_routes() -> Iterator[Route]:
    """Yield the row of the description."""
    document = msgspec.json.encode(description())
    yield Route("GET", PATH, lambda call: _answer(call, document))


def _answer(call: Call, document: bytes) -> Response:
    return Response(200, [("content-type", JSON)], document)


def description() -> dict[str, Any]:
    """Return the description of all calls."""
    schemas = _schemas()
    paths: dict[str, Any] = {}
    for row in OPERATIONS:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "greenchat",
            "version": __version__,
            "summary": "Send and read messages of a greenchat server",
        },
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"token": TOKEN, "cookie": COOKIE}},
    }


def _schemas() -> dict[str, Any]:
    kinds: list[Any] = [Problem]
    for row in OPERATIONS:
        kinds += [kind for kind in (row.body, *row.answers.values()) if isinstance(kind, type)]
    _, schemas = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    for name in ("OneChatPush", "GroupChatPush"):  # a recalled message has none
        schemas[name]["required"].remove("msg")
    schemas[NewMessage.__name__]["oneOf"] = [{"required": [name]} for name in Place.__struct_fields__]
    # A discriminator of OpenAPI is a text, and the msgid is a number; ``const`` tells them apart as well.
    schemas[Page.__name__]["properties"]["messages"]["items"].pop("discriminator", None)
    return schemas


def _operation(row: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": row.name,
        "summary": row.summary,
        "parameters": list(_parameters(row)),
        "responses": {
            **{str(status): _answer_of(status, kind) for status, kind in row.answers.items()},
            **{str(status): _answer_of(status, Problem) for status in _failures(row)},
        },
        "security": [{"token": []}, {"cookie": []}] if row.admits else [],
    }
    if row.body is not None:
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": _ref(row.body)}}}
    return operation


def _failures(row: Operation) -> list[int]:
    return sorted({*OF_ALL, *(OF_CALLERS if row.admits else ()), *row.failures})


def _parameters(row: Operation) -> Iterator[dict[str, Any]]:
    for segment in row.path.split("/"):
        if segment.startswith("{"):
            schema = {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}
            yield {"name": segment[1:-1], "in": "path", "required": True, "schema": schema}
    if row.query is not None:
        properties = msgspec.json.schema(row.query)["$defs"][row.query.__name__]["properties"]
        for name, schema in properties.items():
            yield {"name": name, "in": "query", "schema": schema}
    for name, text in row.headers.items():
        yield {"name": name, "in": "header", "description": text, "schema": HEADER_SCHEMAS[name]}


def _answer_of(status: int, kind: type[Struct] | str | None) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if isinstance(kind, str):
        answer["content"] = {kind: {"schema": {"type": "string"}}}
    elif kind is not None:
        answer["content"] = {PROBLEM if kind is Problem else JSON: {"schema": _ref(kind)}}
    return answer


def _ref(kind: type[Struct]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}
