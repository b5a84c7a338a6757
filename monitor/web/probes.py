"""`/-/healthy` and `/-/ready`: plain text, no password, nothing about the provider."""

from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response

from monitor.web.status import ReadinessSource


def probe_routes(readiness: ReadinessSource) -> APIRouter:
    """Return the routes of the two probes."""
    router = APIRouter(prefix="/-", include_in_schema=False)

    @router.api_route("/healthy", methods=["GET", "HEAD"])
    async def healthy() -> Response:
        return PlainTextResponse("ok\n")

    @router.api_route("/ready", methods=["GET", "HEAD"])
    async def ready() -> Response:
        reason = readiness.not_ready()
        return PlainTextResponse("ready\n") if reason is None else PlainTextResponse(f"{reason}\n", 503)

    return router
