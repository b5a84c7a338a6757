"""Actions over the web: reload, sync, accept, acknowledge, silence, retry, test. Off unless configured."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from structlog.typing import FilteringBoundLogger

from monitor.drift.silences import NewSilence
from monitor.errors import MonitorError, StoreUnavailable
from monitor.notify.test_alert import ReceiverTest
from monitor.store.actions import Actor
from monitor.store.requests import Acknowledged, RetriedNow
from monitor.store.rows import SilenceRow
from monitor.units import format_size
from monitor.web.auth import user_of
from monitor.web.problems import BadRequest
from monitor.web.settings import Settings

DISABLED = "actions over the web are off; set web.enable_lifecycle = true to allow them"
_CROSS_SITE = "this request comes from a page of another site"
READER = "you may only read here; web.operators names the users who may act"
_FORM_TYPE = "application/x-www-form-urlencoded"
_MOST_FORM_BYTES = 2**20
"""A config may be pasted into one."""


class Lifecycle(Protocol):
    """Carries out the actions, and records who asked for them."""

    async def reload(self, by: Actor) -> None:
        """Read the config again and make it the active one.

        Raises:
            MonitorError: It cannot be used; the old one stays active.
        """
        ...

    async def sync_now(self, name: str, by: Actor) -> bool:
        """Sync a connection, due or not; return False if it is being synced already.

        Raises:
            UnknownName: There is no such connection.
            StoreUnavailable: The store is unavailable.
        """
        ...

    async def accept(self, name: str, numbers: Sequence[str] | None, by: Actor) -> int:
        """Accept removed and reconfigured numbers of a connection as they are; return how many.

        Args:
            name: The connection's.
            numbers: In any form; None for all of them.

        Raises:
            UnknownName: There is no such connection, or one of the numbers was neither removed nor
                reconfigured.
            StoreUnavailable: The store is unavailable.
        """
        ...

    async def acknowledge(self, alert: str, note: str | None, by: Actor) -> Acknowledged:
        """Take on a firing alert: it reminds no one any more, and receivers are told once.

        Args:
            alert: Its id, or the beginning of it; of a part, its widespread alert is taken on.
            note: What the user says about it; it is cut to `MAX_NOTE` characters.
            by: Who asks.

        Raises:
            UnknownName: No alert is called so, or several are.
            Refused: It has ended.
            StoreUnavailable: The store is unavailable.
        """
        ...

    async def retry(self, delivery_id: str, by: Actor) -> None:
        """Send a dead delivery again.

        Raises:
            Refused: There is no such delivery, it is not dead, has been overtaken, or its alert has ended.
            StoreUnavailable: The store is unavailable.
        """
        ...

    async def retry_now(self, receiver: str, by: Actor) -> RetriedNow:
        """Try a receiver at once with whatever waits for it or is dead.

        Raises:
            UnknownName: There is no such receiver.
            StoreUnavailable: The store is unavailable.
        """
        ...

    async def test_alert(self, receiver: str, by: Actor) -> ReceiverTest:
        """Send a test alert to a receiver, whatever its filters; return how it took it.

        Raises:
            UnknownName: There is no such receiver.
        """
        ...

    async def dismiss(self, delivery_id: str, by: Actor) -> None:
        """Close a dead delivery.

        Raises:
            Refused: There is no such delivery, or it is not dead.
            StoreUnavailable: The store is unavailable.
        """
        ...

    async def add_silence(self, asked: NewSilence, by: Actor) -> SilenceRow:
        """Keep numbers quiet for a while; return the silence.

        Raises:
            Invalid: It cannot be set like this.
            UnknownName: There is no such alert.
            StoreUnavailable: The store is unavailable.
        """
        ...

    async def end_silence(self, silence_id: str, by: Actor) -> SilenceRow:
        """End a silence; return it.

        Raises:
            UnknownName: There is no such silence.
            Refused: It has ended already.
            StoreUnavailable: The store is unavailable.
        """
        ...


class Actions:
    """Decides whether a request may act.

    Args:
        lifecycle: Carries the actions out.
        settings: Of the active config.
        log: Gets what users tried who may not act.
    """

    def __init__(self, *, lifecycle: Lifecycle, settings: Settings, log: FilteringBoundLogger) -> None:
        self.lifecycle = lifecycle
        self.settings = settings
        self._log = log

    async def admit(self, request: Request) -> dict[str, list[str]]:
        """Let a request act, and return the fields of its form, empty if it has none.

        Raises:
            HTTPException: It may not: 403, or the form is too large.
        """
        settings = self.settings()
        if not settings.lifecycle:
            raise HTTPException(HTTPStatus.FORBIDDEN, DISABLED)
        if is_cross_site(request.headers, request.scope["scheme"], settings.external_url):
            raise HTTPException(HTTPStatus.FORBIDDEN, _CROSS_SITE)
        by = actor_of(request)
        if by.user is not None and not settings.is_operator(by.user):
            path = request.scope["path"]
            self._log.warning("action.refused", user=by.user, address=by.address, target=path)
            raise HTTPException(HTTPStatus.FORBIDDEN, READER)
        return await read_form(request)


def actor_of(request: Request) -> Actor:
    """Return who asks."""
    return Actor(user=user_of(request), address=request.client.host if request.client else "")


def is_cross_site(headers: Mapping[str, str], scheme: str, external_url: str | None) -> bool:
    """Return whether a browser made this request for a page of another site.

    Browsers say with every POST where it was made. A program that is not a browser sends neither header, and
    has no visitor in whose name another site could act.

    Args:
        headers: Of the request.
        scheme: `http` also where TLS may end at a proxy that is not trusted to say so.
        external_url: The monitor's address behind a proxy; its pages are the monitor's own.

    Source: https://www.w3.org/TR/fetch-metadata/ and RFC 6454, section 7.
    """
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return True
    if "origin" not in headers:
        return False
    host = headers.get("host", "").lower()
    own = {f"https://{host}", f"{scheme}://{host}", _origin(external_url or "")}
    return _origin(headers["origin"]) not in own - {None}


def _origin(url: str) -> str | None:
    """Return the origin of an address, None if it has none, as in `Origin: null`."""
    try:
        parts = urlsplit(url.lower())
    except ValueError:
        return None
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else None


async def read_body(request: Request, most_bytes: int) -> bytes:
    """Return the body of a request.

    Raises:
        HTTPException: It is too large.
    """
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most_bytes:
            most = f"the body is larger than {format_size(most_bytes)}"
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, most)
    return bytes(body)


async def read_form(request: Request) -> dict[str, list[str]]:
    """Return the fields of an HTML form, empty if the request brings none.

    Raises:
        HTTPException: It is too large.
        BadRequest: It cannot be read.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM_TYPE:
        return {}
    try:
        return parse_qs((await read_body(request, _MOST_FORM_BYTES)).decode(), keep_blank_values=True)
    except ValueError as exc:
        raise BadRequest("the form is not UTF-8 text") from exc


def action_routes(actions: Actions) -> APIRouter:
    """Return the route of the reload; the API has that of the sync."""
    router = APIRouter(include_in_schema=False)

    @router.post("/-/reload")
    async def reload(request: Request) -> Response:
        await actions.admit(request)
        try:
            await actions.lifecycle.reload(actor_of(request))
        except StoreUnavailable:
            raise
        except MonitorError as exc:
            return PlainTextResponse(f"{exc}\n", HTTPStatus.BAD_REQUEST)
        return PlainTextResponse("ok\n")

    return router
