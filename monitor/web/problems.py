"""How requests are refused: problem documents under the API (RFC 9457), plain text elsewhere."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from monitor.errors import StoreUnavailable

API = "/api/v1"

STORE_AWAY = "the store is unavailable; try again in a moment"
STORE_AWAY_RETRY_S = 5

PROBLEM_TYPE = "application/problem+json"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong with a request.

    `type` is always `about:blank`: `status` says which problem it is, `detail` what to do. `parameter` names
    the part of the request that was wrong, if it was one; `problems` are those of a config, each with a key.
    """

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    parameter: str | None = None
    problems: list[str] | msgspec.UnsetType = msgspec.UNSET


class BadRequest(HTTPException):
    """A request that cannot be understood; `parameter` is the wrong part, `problems` are a config's."""

    def __init__(self, detail: str, *, parameter: str | None = None, problems: Sequence[str] = ()) -> None:
        super().__init__(HTTPStatus.BAD_REQUEST, detail)
        self.parameter = parameter
        self.problems = list(problems)


def refusal(
    path: str,
    status: int,
    detail: str | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    parameter: str | None = None,
    problems: Sequence[str] = (),
) -> Response:
    """Return a refusal in the form that fits the path.

    Args:
        path: Of the request.
        status: The code.
        detail: The reason, for people; the name of the code if None.
        headers: To add.
        parameter: The wrong part of the request.
        problems: Of a config.
    """
    phrase = HTTPStatus(status).phrase
    if not (path == API or path.startswith(API + "/")):
        said = f"{status} {phrase}" if detail in (None, phrase) else detail
        return PlainTextResponse(f"{said}\n", status, headers)
    problem = Problem(
        title=phrase,
        status=status,
        detail=detail or phrase,
        parameter=parameter,
        problems=list(problems) or msgspec.UNSET,
    )
    return Response(msgspec.json.encode(problem), status, headers, media_type=PROBLEM_TYPE)


async def problem(request: Request, exc: Exception) -> Response:
    """Answer for an exception: a request that was wrong, an unavailable store, or a bug."""
    path = request.scope["path"]
    match exc:
        case BadRequest():
            return refusal(path, exc.status_code, exc.detail, parameter=exc.parameter, problems=exc.problems)
        case HTTPException():
            return refusal(path, exc.status_code, exc.detail, headers=exc.headers)
        case StoreUnavailable():  # its text may name paths and hosts
            headers = {"retry-after": str(STORE_AWAY_RETRY_S)}
            return refusal(path, HTTPStatus.SERVICE_UNAVAILABLE, STORE_AWAY, headers=headers)
        case _:  # the server logs it
            return refusal(path, HTTPStatus.INTERNAL_SERVER_ERROR)
