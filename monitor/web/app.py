"""The web application: which route lives where.

Each group of routes is a function that returns a router; those of the pages, the actions and the JSON API
under `/api/v1` are handed to `create_app`.
"""

from collections.abc import Sequence
from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from monitor.errors import StoreUnavailable
from monitor.metrics import Metrics
from monitor.web.auth import BasicAuth, Gate
from monitor.web.exposition import metrics_routes
from monitor.web.headers import SECURITY_HEADERS, SecurityHeaders
from monitor.web.probes import probe_routes
from monitor.web.problems import problem
from monitor.web.status import ReadinessSource

_STATIC = Path(__file__).parent / "static"


def create_app(
    *,
    metrics: Metrics,
    readiness: ReadinessSource,
    routers: Sequence[APIRouter] = (),
    gate: Gate | None = None,
) -> FastAPI:
    """Return the application.

    Args:
        metrics: Shown at `/metrics`.
        readiness: Asked by `/-/ready`.
        routers: Further groups of routes.
        gate: Asks for passwords; None: nobody needs one.
    """
    app = FastAPI(
        title="VoiceLink drift monitor",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # Off, whatever the environment holds: what leaves the process is ours to say.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    if gate is not None:
        app.add_middleware(BasicAuth, gate=gate)
    app.add_middleware(SecurityHeaders)  # added last, so outermost: refusals carry the headers too
    app.add_exception_handler(HTTPException, problem)
    app.add_exception_handler(StoreUnavailable, problem)
    app.add_exception_handler(Exception, _internal_error)
    for router in (metrics_routes(metrics), probe_routes(readiness), *routers):
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=_STATIC))
    return app


async def _internal_error(request: Request, exc: Exception) -> Response:
    """Answer outside of the middleware, where the headers are not added."""
    answer = await problem(request, exc)
    answer.headers.update(SECURITY_HEADERS)
    return answer
