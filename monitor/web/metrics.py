"""`GET /metrics`: rendered on the loop in small turns, compressed in a thread."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Sequence

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from monitor.metrics import Metrics
from monitor.metrics.exposition import accepts_gzip

_GZIP = 16 + zlib.MAX_WBITS


def metrics_routes(metrics: Metrics) -> APIRouter:
    """Return the route of the metrics."""
    router = APIRouter(include_in_schema=False)

    @router.api_route("/metrics", methods=["GET", "HEAD"])
    async def show(request: Request) -> Response:
        content_type, pieces = await metrics.render(accept=_joined(request, "accept"))
        headers = {"content-type": content_type, "vary": "accept, accept-encoding"}
        if accepts_gzip(_joined(request, "accept-encoding")):
            # zlib lets go of the interpreter while it works, so the thread does not hold up the loop.
            pieces = await asyncio.to_thread(compress, pieces)
            headers["content-encoding"] = "gzip"
        headers["content-length"] = str(sum(map(len, pieces)))
        # Megabytes at once would hold up the loop.
        return StreamingResponse(_each(pieces), headers=headers)

    return router


def compress(pieces: Sequence[bytes]) -> list[bytes]:
    """Return the pieces as one gzip stream; level 1, since the next scrape comes in seconds."""
    gzip = zlib.compressobj(1, wbits=_GZIP)
    return [*map(gzip.compress, pieces), gzip.flush()]


async def _each(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def _joined(request: Request, header: str) -> str:
    """Return a list header as one value, however many lines it came in."""
    return ",".join(request.headers.getlist(header))
