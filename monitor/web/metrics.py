"""`GET /metrics`: rendered on the loop in small turns, compressed in a thread."""

import asyncio
import zlib
from collections.abc import Sequence

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

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
        if not accepts_gzip(_joined(request, "accept-encoding")):
            return Response(b"".join(pieces), headers=headers)
        # zlib lets go of the interpreter while it works, so the thread does not hold up the loop.
        body = await asyncio.to_thread(compress, pieces)
        return Response(body, headers=headers | {"content-encoding": "gzip"})

    return router


def compress(pieces: Sequence[bytes]) -> bytes:
    """Return the pieces as one gzip stream; level 1, since the next scrape comes in seconds."""
    gzip = zlib.compressobj(1, wbits=_GZIP)
    return b"".join([*(gzip.compress(piece) for piece in pieces), gzip.flush()])


def _joined(request: Request, header: str) -> str:
    """Return a list header as one value, however many lines it came in."""
    return ",".join(request.headers.getlist(header))
