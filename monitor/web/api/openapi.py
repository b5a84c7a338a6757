"""The OpenAPI 3.1 document, made from the table of questions and the types of its answers.

Source: https://spec.openapis.org/oas/v3.1.1
"""

from http import HTTPStatus
from typing import Any

import msgspec

from monitor.web.actions import DISABLED
from monitor.web.api.answers import SyncStarted, encode
from monitor.web.api.examples import examples
from monitor.web.api.questions import ConnectionQuestion
from monitor.web.api.table import QUESTIONS, Question
from monitor.web.auth import CHALLENGE
from monitor.web.problems import API, PROBLEM_TYPE, Problem

_SCHEMAS = "#/components/schemas/{name}"
_JSON = "application/json"

_ABOUT = """\
What the VoiceLink drift monitor knows. Read-only, but for one request that starts a sync.

Lists come in pages: ask again with `cursor` set to `next_cursor` until that is null. Every answer has an
`ETag`; sent back as `If-None-Match` it saves the body if nothing changed. GET also answers HEAD. Problems are
RFC 9457 documents. Instants are RFC 3339, UTC. Parameters that a request does not know are refused.
"""

_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds to wait before asking again.",
        "schema": {"type": "integer", "minimum": 1},
    }
}

_PROBLEMS: dict[str, tuple[HTTPStatus, str, str]] = {
    "BadRequest": (
        HTTPStatus.BAD_REQUEST,
        "A parameter is unknown, given twice, or cannot be read.",
        "unknown parameter 'stat': did you mean 'state'?",
    ),
    "Unauthorized": (
        HTTPStatus.UNAUTHORIZED,
        "Users are configured, and this is no user's password.",
        "a user name and its password are needed",
    ),
    "Forbidden": (
        HTTPStatus.FORBIDDEN,
        "Actions are off, or a page of another site made this request.",
        DISABLED,
    ),
    "NotFound": (HTTPStatus.NOT_FOUND, "There is nothing of this name.", "no connection has this name"),
    "Conflict": (
        HTTPStatus.CONFLICT,
        "It is being synced already.",
        "acme-sales is being synced right now: ask again in a moment",
    ),
    "TooManyRequests": (
        HTTPStatus.TOO_MANY_REQUESTS,
        "Too many wrong passwords came from this address.",
        "too many wrong passwords from this address: wait",
    ),
    "Unavailable": (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The store is away, or too much is asked of it at once.",
        "the store is away: try again in a moment",
    ),
}

_WITH_RETRY_AFTER = ("Conflict", "TooManyRequests", "Unavailable")


def build_openapi(version: str) -> dict[str, Any]:
    """Return the document.

    Args:
        version: Of the program.
    """
    types = [kind for question in QUESTIONS for kind in (question.kind, question.asked)]
    refs, schemas = msgspec.json.schema_components([*types, SyncStarted, Problem], ref_template=_SCHEMAS)
    by_type = dict(zip([question.name for question in QUESTIONS], refs[::2], strict=False))
    asked = {question.asked.__name__: schemas.pop(question.asked.__name__) for question in QUESTIONS}
    shown = examples()
    paths: dict[str, Any] = {
        API + question.path: {
            "get": _operation(
                question, asked[question.asked.__name__], by_type[question.name], shown[question.name]
            )
        }
        for question in QUESTIONS
    }
    name = _parameters(asked[ConnectionQuestion.__name__], f"{API}/connections/{{name}}/sync")
    paths[f"{API}/connections/{{name}}/sync"] = {"post": _sync(name)}
    paths[f"{API}/openapi.json"] = {"get": _document()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "VoiceLink drift monitor",
            "version": version,
            "summary": "Status, numbers, changes, alerts and deliveries.",
            "description": _ABOUT,
        },
        "servers": [{"url": "/", "description": "This daemon."}],
        # Which of the two, the config says: without users nobody needs a password.
        "security": [{"password": []}, {}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {key: _problem(key) for key in _PROBLEMS},
            "headers": {"ETag": {"description": "The tag of this answer.", "schema": {"type": "string"}}},
            "securitySchemes": {
                "password": {"type": "http", "scheme": "basic", "description": "A user of the config."}
            },
        },
    }


def _operation(question: Question, asked: dict[str, Any], kind: Any, example: object) -> dict[str, Any]:
    problems = ["BadRequest", "Unauthorized", "TooManyRequests"]
    problems += ["NotFound"] if question.not_found else []
    problems += ["Unavailable"] if question.stored else []
    return {
        "operationId": question.name,
        "summary": question.summary,
        "tags": ["read"],
        "parameters": [*_parameters(asked, question.path), _IF_NONE_MATCH],
        "responses": {
            "200": {
                "description": "The answer.",
                "headers": {"ETag": {"$ref": "#/components/headers/ETag"}},
                "content": {_JSON: {"schema": kind, "example": msgspec.json.decode(encode(example))}},
            },
            "304": _NOT_MODIFIED,
            **_refs(problems),
        },
    }


def _parameters(asked: dict[str, Any], path: str) -> list[dict[str, Any]]:
    """Return the parameters that the fields of a question's type describe."""
    parameters = []
    for name, schema in asked["properties"].items():
        in_path = f"{{{name}}}" in path
        parameters.append(
            {
                "name": name,
                "in": "path" if in_path else "query",
                "required": in_path,
                "description": schema.get("description", ""),
                "schema": {key: value for key, value in schema.items() if key != "description"},
            }
        )
    return parameters


def _sync(parameters: list[dict[str, Any]]) -> dict[str, Any]:
    problems = ["BadRequest", "Unauthorized", "Forbidden", "NotFound", "Conflict", "TooManyRequests"]
    return {
        "operationId": "syncConnection",
        "summary": "Sync a connection now, due or not; read-only for the provider.",
        "description": "Needs `web.enable_lifecycle` in the config.",
        "tags": ["act"],
        "parameters": parameters,
        "responses": {
            "202": {
                "description": "It has begun.",
                "content": {
                    _JSON: {
                        "schema": {"$ref": _SCHEMAS.format(name="SyncStarted")},
                        "example": {"connection": "acme-sales"},
                    }
                },
            },
            **_refs([*problems, "Unavailable"]),
        },
    }


def _document() -> dict[str, Any]:
    return {
        "operationId": "getOpenapi",
        "summary": "This document.",
        "tags": ["read"],
        "parameters": [_IF_NONE_MATCH],
        "responses": {
            "200": {
                "description": "OpenAPI 3.1.",
                "headers": {"ETag": {"$ref": "#/components/headers/ETag"}},
                "content": {_JSON: {"schema": {"type": "object", "required": ["openapi", "paths"]}}},
            },
            "304": _NOT_MODIFIED,
            **_refs(["BadRequest", "Unauthorized", "TooManyRequests"]),
        },
    }


_IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "The `ETag` of an answer that is known already.",
    "schema": {"type": "string"},
}

_NOT_MODIFIED = {
    "description": "The answer is the known one.",
    "headers": {"ETag": {"$ref": "#/components/headers/ETag"}},
}


def _refs(names: list[str]) -> dict[str, Any]:
    """Return responses by code, which are described once for all."""
    ordered = sorted(names, key=lambda name: _PROBLEMS[name][0])
    return {str(int(_PROBLEMS[name][0])): {"$ref": f"#/components/responses/{name}"} for name in ordered}


def _problem(name: str) -> dict[str, Any]:
    status, description, detail = _PROBLEMS[name]
    example = Problem(title=status.phrase, status=status, detail=detail)
    response: dict[str, Any] = {
        "description": description,
        "content": {
            PROBLEM_TYPE: {
                "schema": {"$ref": _SCHEMAS.format(name="Problem")},
                "example": msgspec.json.decode(encode(example)),
            }
        },
    }
    if name in _WITH_RETRY_AFTER:
        response["headers"] = _RETRY_AFTER
    if name == "Unauthorized":
        response["headers"] = {
            "WWW-Authenticate": {"description": "How.", "schema": {"type": "string"}, "example": CHALLENGE}
        }
    return response
