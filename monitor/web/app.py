"""The web application: which route lives where.

Each group of routes is a function that returns a router and is listed in `create_app`; pages live in
`pages.py`, the JSON API under `/api/v1` in a module of its own.
"""

from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.staticfiles import StaticFiles

from monitor.metrics import Metrics
from monitor.web.exposition import metrics_routes
from monitor.web.headers import SECURITY_HEADERS, SecurityHeaders
from monitor.web.pages import page_routes
from monitor.web.probes import probe_routes
from monitor.web.status import Readiness, StatusSource

_STATIC = Path(__file__).parent / "static"


def create_app(
    *, metrics: Metrics, readiness: Readiness, status: StatusSource, routers: Sequence[APIRouter] = ()
) -> FastAPI:
    """Return the application.

    Args:
        metrics: Shown at `/metrics`.
        readiness: Asked by `/-/ready`.
        status: Asked by the pages.
        routers: Further groups of routes.
    """
    app = FastAPI(
        title="VoiceLink drift monitor",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # Off, whatever the environment holds: what leaves the process is ours to say.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.add_middleware(SecurityHeaders)
    app.add_exception_handler(HTTPException, _plain_error)
    app.add_exception_handler(Exception, _internal_error)
    for router in (metrics_routes(metrics), probe_routes(readiness), page_routes(status), *routers):
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=_STATIC))
    return app


async def _plain_error(_: Request, exc: Exception) -> Response:
    code = exc.status_code if isinstance(exc, HTTPException) else HTTPStatus.INTERNAL_SERVER_ERROR
    headers = exc.headers if isinstance(exc, HTTPException) else None
    return PlainTextResponse(f"{int(code)} {HTTPStatus(code).phrase}\n", code, headers)


async def _internal_error(_: Request, __: Exception) -> Response:
    """Answer for what no route expected; the server logs it. It stands outside of the middleware."""
    return PlainTextResponse("500 Internal Server Error\n", 500, SECURITY_HEADERS)
