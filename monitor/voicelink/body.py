"""A response body, bounded while it is read: compressed and not.

The compressed bytes are read first, no more than the limit. gzip says its size at its end (RFC 1952, ISIZE):
of a bomb that admits its size not a byte is kept, one that lies is refused when it outgrows what it said.
"""

import zlib
from collections.abc import Awaitable, Callable

import httpx

from monitor.errors import Outcome, SyncError
from monitor.http.request import raw_chunks

ACCEPT_ENCODING = "gzip, deflate"

_SLICE_BYTES = 1024 * 1024
"""Inflating this much takes some milliseconds; between slices others run."""
_GZIP_TRAILER_BYTES = 8
_GZIP_WBITS = zlib.MAX_WBITS | 16

YieldToLoop = Callable[[], Awaitable[None]]


async def read_body(response: httpx.Response, limit_bytes: int, yield_to_loop: YieldToLoop) -> bytes:
    """Return the decompressed body.

    Raises:
        SyncError: `too_large`, or `invalid_response` for a body that cannot be decompressed.
    """
    headers = response.headers
    declared = headers.get("content-length", "")
    # The length first: `int` refuses thousands of digits.
    digits = declared.lstrip("0")
    if digits.isdecimal() and (len(digits) > len(str(limit_bytes)) or int(digits) > limit_bytes):
        raise _too_large(limit_bytes)
    size_bytes, chunks = 0, []
    async for chunk in raw_chunks(response):
        size_bytes += len(chunk)
        if size_bytes > limit_bytes:
            raise _too_large(limit_bytes)
        chunks.append(chunk)
    raw = b"".join(chunks)
    encoding = headers.get("content-encoding")
    if encoding is None or not raw:
        return raw
    return await inflate(raw, encoding, limit_bytes, yield_to_loop)


async def inflate(raw: bytes, encoding: str, limit_bytes: int, yield_to_loop: YieldToLoop) -> bytes:
    """Return the bytes that a Content-Encoding hides, yielding to the event loop between slices.

    Raises:
        SyncError: `too_large`, or `invalid_response` for bytes that are not what the header says.
    """
    engine = _engine(raw, encoding)
    if engine is None:
        return raw
    said_bytes = 0
    if encoding.strip().lower() != "deflate":
        said_bytes = int.from_bytes(raw[-4:], "little")
    bound_bytes = min(said_bytes, limit_bytes) if said_bytes else limit_bytes
    # Said to be too large: inflated all the same, kept nowhere, for it may be truncated or no gzip at all.
    keep = said_bytes <= limit_bytes
    body, size_bytes = await _drain(engine, raw, bound_bytes, yield_to_loop, keep=keep)
    if size_bytes > limit_bytes:
        raise _too_large(limit_bytes)
    if size_bytes > bound_bytes:
        raise _unreadable("it is longer than its gzip trailer says")
    if not engine.eof:
        raise _unreadable("the compressed data is truncated")
    if engine.unused_data:
        raise _unreadable("bytes follow its compressed end")
    return body


async def _drain(
    engine: "zlib._Decompress", raw: bytes, bound_bytes: int, yield_to_loop: YieldToLoop, *, keep: bool
) -> tuple[bytes, int]:
    """Return what inflates from `raw`, and its size: stopped when that exceeds the bound by one."""
    room, pieces, rest = bound_bytes + 1, [], raw
    while True:
        try:
            piece = engine.decompress(rest, min(room, _SLICE_BYTES))
        except zlib.error as exc:
            raise _unreadable("its compression is broken") from exc
        room -= len(piece)
        rest = engine.unconsumed_tail
        if keep:
            pieces.append(piece)
        if room <= 0 or engine.eof or (not piece and not rest):
            return b"".join(pieces), bound_bytes + 1 - room
        await yield_to_loop()


def _engine(raw: bytes, encoding: str) -> "zlib._Decompress | None":
    match encoding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip":
            return zlib.decompressobj(_GZIP_WBITS)
        case "deflate":
            # Some servers send deflate without the zlib header that RFC 9110, section 8.4.1.2 asks for.
            wrapped = len(raw) > 1 and raw[0] & 0x0F == zlib.DEFLATED and (raw[0] * 256 + raw[1]) % 31 == 0
            return zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)
        case _:
            raise _unreadable("it has an unsupported content encoding")


def _too_large(limit_bytes: int) -> SyncError:
    return SyncError(Outcome.TOO_LARGE, f"the answer is larger than {limit_bytes} bytes")


def _unreadable(problem: str) -> SyncError:
    return SyncError(Outcome.INVALID_RESPONSE, f"the answer's body cannot be read: {problem}")
