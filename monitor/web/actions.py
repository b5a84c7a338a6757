"""What can be asked of the daemon over the web: reload, sync, accept, retry. Off unless configured."""

from collections.abc import Callable, Collection, Sequence
from http import HTTPStatus
from typing import Protocol
from urllib.parse import parse_qs

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from monitor.errors import MonitorError, StoreUnavailable
from monitor.web.auth import user_of
from monitor.web.csrf import TOKEN_FIELD, TOKEN_HEADER, CsrfTokens, from_browser, is_cross_site
from monitor.web.problems import BadRequest

DISABLED = "actions over the web are off: set web.enable_lifecycle = true in the config to allow them"
_CROSS_SITE = "this request was made by a page of another site"
_NO_TOKEN = "this form is out of date: load the page again, and send it once more"  # noqa: S105 - words
_FORM_TYPE = "application/x-www-form-urlencoded"
_MOST_FORM_BYTES = 64 * 1024


class Lifecycle(Protocol):
    """Who does it."""

    async def reload(self) -> None:
        """Read the config again and put it in force.

        Raises:
            MonitorError: It cannot be used; the old one goes on.
        """
        ...

    async def sync_now(self, name: str) -> bool:
        """Sync a connection, due or not; return False if it is being synced already.

        Raises:
            UnknownName: There is no such connection.
            StoreUnavailable: The store is away.
        """
        ...

    async def accept(self, name: str, numbers: Sequence[str] | None) -> int:
        """Accept removed and reconfigured numbers of a connection as they are; return how many.

        Args:
            name: The connection's.
            numbers: In any form; None for all of them.

        Raises:
            UnknownName: There is no such connection, or one of the numbers was neither removed nor
                reconfigured.
            StoreUnavailable: The store is away.
        """
        ...

    async def retry(self, delivery_id: str) -> None:
        """Send a dead delivery again.

        Raises:
            Refused: There is no such delivery, it is not dead, or has been overtaken.
            StoreUnavailable: The store is away.
        """
        ...


class Actions:
    """Decides who may act.

    Args:
        lifecycle: Does what is asked.
        enabled: Whether the config in force allows it.
        tokens: Of forms.
        trusted_hosts: Ours besides the one a request names.
    """

    def __init__(
        self,
        *,
        lifecycle: Lifecycle,
        enabled: Callable[[], bool],
        tokens: CsrfTokens,
        trusted_hosts: Collection[str] = (),
    ) -> None:
        self.lifecycle = lifecycle
        self._enabled = enabled
        self._tokens = tokens
        self._trusted_hosts = trusted_hosts

    @property
    def enabled(self) -> bool:
        """Whether pages should offer anything to do."""
        return self._enabled()

    def token(self, request: Request) -> str:
        """Return the token for the forms of a page that answers this request; field `csrf_token`."""
        return self._tokens.make(user_of(request))

    async def admit(self, request: Request) -> dict[str, list[str]]:
        """Let a request act, and return the fields of its form, empty if it is none.

        Raises:
            HTTPException: It may not: 403, or the form is too large.
        """
        if not self.enabled:
            raise HTTPException(HTTPStatus.FORBIDDEN, DISABLED)
        if is_cross_site(request.headers, self._trusted_hosts):
            raise HTTPException(HTTPStatus.FORBIDDEN, _CROSS_SITE)
        form = await read_form(request)
        if from_browser(request.headers):
            token = request.headers.get(TOKEN_HEADER) or form.get(TOKEN_FIELD, [""])[0]
            if not self._tokens.valid(token, user_of(request)):
                raise HTTPException(HTTPStatus.FORBIDDEN, _NO_TOKEN)
        return form


async def read_form(request: Request) -> dict[str, list[str]]:
    """Return the fields of an HTML form, empty if the request brings none.

    Raises:
        HTTPException: It is too large.
        BadRequest: It cannot be read.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM_TYPE:
        return {}
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _MOST_FORM_BYTES:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    try:
        return parse_qs(body.decode(), keep_blank_values=True)
    except ValueError as exc:
        raise BadRequest("the form cannot be read") from exc


def action_routes(actions: Actions) -> APIRouter:
    """Return the route of the reload; the API has that of the sync."""
    router = APIRouter(include_in_schema=False)

    @router.post("/-/reload")
    async def reload(request: Request) -> Response:
        await actions.admit(request)
        try:
            await actions.lifecycle.reload()
        except StoreUnavailable:
            raise
        except MonitorError as exc:
            return PlainTextResponse(f"{exc}\n", HTTPStatus.BAD_REQUEST)
        return PlainTextResponse("ok\n")

    return router
