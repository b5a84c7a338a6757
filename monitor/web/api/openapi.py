"""The OpenAPI 3.1 document: FastAPI's description of the routes, with the types of the answers.

Source: https://spec.openapis.org/oas/v3.1.1
"""

import copy
import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from monitor.drift.silences import NewSilence
from monitor.web.actions import DISABLED
from monitor.web.api.answers import AcknowledgeRequest, FiringAlert
from monitor.web.api.body import TOML_TYPES
from monitor.web.auth import CHALLENGE, TOO_MANY_WRONG
from monitor.web.problems import PROBLEM_TYPE, STORE_AWAY, Problem

_ABOUT = """\
What the VoiceLink drift monitor knows, and what on-call asks of it. Nothing is ever changed at the provider.

Lists come in pages, some also whole as a file (`format=csv`). For the next page, ask again with `cursor` set
to `next_cursor`, until that is null. Every JSON answer has an `ETag`; send it back as `If-None-Match` to save
the body if nothing changed. Every GET also answers HEAD.
Problems are RFC 9457 documents; those of a config are listed in `problems`, each with its key. Instants are
RFC 3339, UTC. Unknown parameters are refused.
"""

_EXAMPLES = Path(__file__).with_name("examples.json")
"""An answer by operation; of a list, one item."""

_BODIES: dict[str, type[msgspec.Struct]] = {"addSilence": NewSilence, "acknowledgeAlert": AcknowledgeRequest}
"""What requests bring, by operation."""
_TEXTS = ("replayConfig",)
"""The operations whose requests bring a config."""
_OPTIONAL = ("acknowledgeAlert",)
"""Of these, what need not be brought."""

IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "The `ETag` of an answer that is known already.",
    "schema": {"type": "string"},
}

_ETAG = {"ETag": {"description": "The tag of this answer.", "schema": {"type": "string"}}}
_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds to wait before asking again.",
        "schema": {"type": "integer", "minimum": 1},
    }
}
_CHALLENGE = {"WWW-Authenticate": {"description": "How.", "schema": {"type": "string"}, "example": CHALLENGE}}

_PROBLEMS: dict[int, tuple[str, str, dict[str, Any]]] = {
    400: (
        "A parameter, or a field or key of the body, is unknown, missing, given twice, or cannot be used.",
        "unknown parameter 'stat': did you mean 'state'?",
        {},
    ),
    401: (
        "Users are configured, and this request has no user's password.",
        "a user name and its password are needed",
        _CHALLENGE,
    ),
    403: (
        "Actions are off, this user may only read, or a page of another site made this request.",
        DISABLED,
        {},
    ),
    404: ("Nothing has this name.", "no connection has this name", {}),
    409: (
        "A connection is being synced, an alert has ended, history has no answer, or a replay is too large.",
        "acme-sales is being synced right now; try again in a moment",
        _RETRY_AFTER,
    ),
    413: ("The body is too large.", "Request Entity Too Large", {}),
    421: (
        "The monitor does not answer for the host of this request; see `web.allowed_hosts`.",
        'this monitor does not answer for the host "evil.example"; if it should, add it to web.allowed_hosts',
        {},
    ),
    429: (
        "Too many wrong passwords came from this address, or for this user.",
        f"{TOO_MANY_WRONG}; try again in 12 s",
        _RETRY_AFTER,
    ),
    503: (
        "The store is unavailable or busy, a replay is running, or too many passwords are being checked.",
        STORE_AWAY,
        _RETRY_AFTER,
    ),
}


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Return the problems with these codes, as the `responses` of a route; each is described once."""
    return {code: {"$ref": f"#/components/responses/{_name(code)}"} for code in sorted(codes)}


def build_openapi(routes: Sequence[BaseRoute], version: str, *, root: str = "") -> dict[str, Any]:
    """Return the document.

    Args:
        routes: Of the API; the return type of an endpoint is what it answers with.
        version: Of the program.
        root: What every path begins with.
    """
    asked: list[APIRoute] = []
    for route in routes:
        if isinstance(route, APIRoute):
            shown = copy.copy(route)
            shown.methods = set(route.methods or ()) - {"HEAD"}
            asked.append(shown)
    document = get_openapi(
        title="VoiceLink drift monitor",
        version=version,
        summary="Status, numbers, changes, alerts and deliveries.",
        description=_ABOUT,
        routes=asked,
        servers=[{"url": root or "/", "description": "This daemon."}],
    )
    examples = _examples()
    kinds = [get_type_hints(route.endpoint)["return"] for route in asked]
    refs, schemas = msgspec.json.schema_components(
        [*kinds, *_BODIES.values(), Problem], ref_template="#/components/schemas/{name}"
    )
    bodies = _bodies(refs[len(kinds) :], examples)
    for route, kind in zip(asked, refs, strict=False):
        [method] = route.methods or ("GET",)
        operation = document["paths"][route.path][method.lower()]
        # FastAPI's own words for a parameter that is wrong; here that is a problem like others.
        operation["responses"].pop("422", None)
        operation["summary"] = operation.pop("description")
        if route.operation_id in bodies:
            operation["requestBody"] = bodies[route.operation_id]
        content: dict[str, Any] = {"schema": kind}
        if route.operation_id in examples:
            content["example"] = examples[route.operation_id]
        forms: dict[str, Any] = {"application/json": content}
        if any(parameter["name"] == "format" for parameter in operation.get("parameters", ())):
            forms["text/csv"] = {"schema": {"type": "string"}}
        operation["responses"][str(route.status_code or 200)] = {
            "description": "The answer.",
            "content": forms,
        }
        if method == "GET":
            operation["responses"]["200"]["headers"] = _ETAG
            operation["responses"]["304"] = {"description": "Not modified.", "headers": _ETAG}
    components = document["components"]
    components["schemas"] = {
        name: schema for name, schema in components["schemas"].items() if "ValidationError" not in name
    } | schemas
    components["responses"] = {_name(code): _problem(code) for code in _PROBLEMS}
    components["securitySchemes"] = {
        "password": {"type": "http", "scheme": "basic", "description": "A user from `web.basic_auth_users`."}
    }
    # Which of the two, the config says: without users no password is needed.
    document["security"] = [{"password": []}, {}]
    return document


def _bodies(refs: Sequence[dict[str, Any]], examples: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what requests bring, by operation; `refs` lead to the structs."""
    brought: list[tuple[str, dict[str, Any], Sequence[str]]] = [
        (name, ref, ("application/json",)) for name, ref in zip(_BODIES, refs, strict=False)
    ]
    brought += [(name, {"type": "string"}, TOML_TYPES) for name in _TEXTS]
    return {
        name: {
            "required": name not in _OPTIONAL,
            "content": {kind: {"schema": schema, "example": examples[f"{name}Body"]} for kind in kinds},
        }
        for name, schema, kinds in brought
    }


def _examples() -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(_EXAMPLES.read_text())
    alert = shown["listAlerts"]
    detail = shown["getConnection"] | {
        "connection": shown["listConnections"],
        "alerts": [{field: alert[field] for field in FiringAlert.__struct_fields__}],
    }
    lists = {
        name: {"items": [item], "next_cursor": None}
        for name, item in shown.items()
        if name.startswith("list")
    }
    lists["listChanges"]["net"] = None
    number = shown["getNumber"] | {"timeline": [shown["listChanges"]]}
    whole = alert | shown["getAlert"]
    return shown | lists | {"getConnection": detail, "getNumber": number, "getAlert": whole}


def _name(code: int) -> str:
    return HTTPStatus(code).phrase.title().replace(" ", "")


def _problem(code: int) -> dict[str, Any]:
    description, detail, headers = _PROBLEMS[code]
    example = Problem(title=HTTPStatus(code).phrase, status=code, detail=detail)
    content = {
        "schema": {"$ref": "#/components/schemas/Problem"},
        "example": msgspec.to_builtins(example),
    }
    return {"description": description, "content": {PROBLEM_TYPE: content}, "headers": headers}
