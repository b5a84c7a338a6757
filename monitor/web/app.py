"""The web application: its routes, its security headers, and the two probes.

Each group of routes is a function that returns a router; those of the pages, the actions and the JSON API
are handed to `create_app`.
"""

from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

from fastapi import APIRouter, FastAPI
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitor.errors import StoreUnavailable
from monitor.metrics import Metrics
from monitor.web.auth import BasicAuth, Gate
from monitor.web.entrance import Entrance
from monitor.web.metrics import metrics_routes
from monitor.web.problems import problem
from monitor.web.settings import Settings, WebSettings
from monitor.web.status import ReadinessSource

_STATIC = Path(__file__).parent / "static"

# No Strict-Transport-Security: it would hold for every port of the host, and other servers live there too.
# Source: https://owasp.org/www-project-secure-headers/
SECURITY_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # Not no-referrer: with that, browsers hide the origin of the monitor's own forms too.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class SecurityHeaders:
    """ASGI middleware that puts the headers on each answer; a route says how it is cached and referred to."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                own = {
                    name: headers[name] for name in ("cache-control", "referrer-policy") if name in headers
                }
                headers.update({**SECURITY_HEADERS, **own})
            await send(message)

        await self._app(scope, receive, send_with_headers)


def probe_routes(readiness: ReadinessSource) -> APIRouter:
    """Return the routes of the two probes."""
    router = APIRouter(prefix="/-", include_in_schema=False)

    @router.api_route("/healthy", methods=["GET", "HEAD"])
    async def healthy() -> Response:
        reason = readiness.stuck()
        return PlainTextResponse("ok\n") if reason is None else PlainTextResponse(f"{reason}\n", 503)

    @router.api_route("/ready", methods=["GET", "HEAD"])
    async def ready() -> Response:
        reason = readiness.not_ready()
        return PlainTextResponse("ready\n") if reason is None else PlainTextResponse(f"{reason}\n", 503)

    return router


def create_app(
    *,
    metrics: Metrics,
    readiness: ReadinessSource,
    routers: Sequence[APIRouter] = (),
    gate: Gate | None = None,
    settings: Settings = WebSettings,
    on_loopback: bool = False,
) -> FastAPI:
    """Return the application.

    Args:
        metrics: Shown at `/metrics`.
        readiness: Asked by `/-/ready`.
        routers: Further groups of routes.
        gate: Asks for passwords; None: no password is needed.
        settings: Of the active config.
        on_loopback: Whether the listener's address is a loopback one.
    """
    app = FastAPI(
        title="VoiceLink drift monitor",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,  # these redirects would lead to whatever host the request names
        # Off, whatever the environment says: nothing leaves the process unasked.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    if gate is not None:
        app.add_middleware(BasicAuth, gate=gate)
    app.add_middleware(Entrance, settings=settings, on_loopback=on_loopback)
    app.add_middleware(SecurityHeaders)  # added last, so outermost: refusals carry the headers too
    app.add_exception_handler(HTTPException, problem)
    app.add_exception_handler(StoreUnavailable, problem)
    app.add_exception_handler(Exception, _internal_error)
    for router in (metrics_routes(metrics), probe_routes(readiness), *routers):
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=_STATIC))
    app.router.default = SlashRedirect(settings)
    return app


class SlashRedirect:
    """Answers what no route does: a path with a slash behind leads to the one without, on whatever host."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Redirect, or say that there is nothing."""
        path, query = scope["path"], scope["query_string"].decode("latin-1")
        shorter = path.rstrip("/")
        # What begins with two slashes would be the name of a host.
        if shorter in ("", path) or path.startswith("//"):
            raise HTTPException(HTTPStatus.NOT_FOUND)
        to = self._settings().root + quote(shorter) + (f"?{query}" if query else "")
        await RedirectResponse(to)(scope, receive, send)


async def _internal_error(request: Request, exc: Exception) -> Response:
    """Answer outside of the middleware, where the headers are not added."""
    answer = await problem(request, exc)
    answer.headers.update(SECURITY_HEADERS)
    return answer
