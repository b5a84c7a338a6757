"""Bodies of requests, of a bounded size: JSON, into a struct; TOML, as it is."""

import re
from typing import TypeVar

import msgspec
from starlette.requests import Request

from monitor.errors import nearest
from monitor.web.actions import read_body
from monitor.web.problems import BadRequest
from monitor.web.replays import MOST_CONFIG_BYTES

TOML_TYPES = ("application/toml", "text/plain")

_MOST_BYTES = 64 * 1024
_UNKNOWN = re.compile(r"unknown field `(.*)`")
_FIELD = re.compile(r"at `\$\.([a-z_]+)`")

T = TypeVar("T", bound=msgspec.Struct)


async def read_json(request: Request, kind: type[T], *, absent: T | None = None) -> T:
    """Return the body of a request.

    Args:
        request: It must say that it brings JSON: a form of another site's page cannot.
        kind: What it must be.
        absent: What a request without a body means; None: it must have one.

    Raises:
        HTTPException: It is too large.
        BadRequest: It is not JSON, or has fields that are unknown or of the wrong type.
    """
    headers = request.headers
    if absent is not None and "content-type" not in headers and headers.get("content-length", "0") == "0":
        return absent
    if _content_type(request) != "application/json":
        raise BadRequest('send JSON, with the header "content-type: application/json"')
    try:
        return msgspec.json.decode(await read_body(request, _MOST_BYTES), type=kind)
    except msgspec.ValidationError as exc:
        raise _wrong(str(exc), kind) from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadRequest("the body is not valid JSON") from exc


async def read_toml(request: Request) -> bytes:
    """Return the config that a request brings.

    Raises:
        HTTPException: It is too large.
        BadRequest: It is something else, by its own words.
    """
    if _content_type(request) not in TOML_TYPES:
        raise BadRequest('send the config, in TOML, with the header "content-type: application/toml"')
    return await read_body(request, MOST_CONFIG_BYTES)


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _wrong(said: str, kind: type[msgspec.Struct]) -> BadRequest:
    """Return what is wrong with a field, and what would be right."""
    unknown, field = _UNKNOWN.search(said), _FIELD.search(said)
    if unknown is not None:
        known = list(kind.__struct_encode_fields__)
        close = nearest(unknown[1], known)
        hint = f"did you mean {close!r}?" if close else f"known here: {', '.join(known)}"
        return BadRequest(f"unknown field {unknown[1][:50]!r}: {hint}", parameter=unknown[1][:50])
    expected = said.partition(" - at ")[0].replace("`", "").lower()
    if field is None:
        return BadRequest(f"the body: {expected}")
    return BadRequest(f"{field[1]}: {expected}", parameter=field[1])
