"""Answers on the wire, and the ways they can fail to arrive."""

import asyncio
import contextlib
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from monitor.clock import Clock
from monitor.simulator.faults import Fault, FaultKind

HANG_UP = "voicelink.hang_up"
"""The ASGI extension that holds a callable: it closes the socket, if asked only after everything is sent."""

_CODES = {
    400: "VALIDATION_ERROR",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    409: "CONFLICT",
    429: "LIMIT_REACHED",
}

_GZIP_WINDOW_BITS = 31
_CHUNK_BYTES = 256 * 1024
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer.

    `delay_s` passes before it, `stall_s` in the middle of its body; `cut` hangs up after half of the body,
    a `status` of 0 hangs up without a word. `filler_mib` of filler follow inside the body's object, and a
    `bomb` is all that, compressed.
    """

    body: bytes
    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)
    delay_s: float = 0.0
    stall_s: float = 0.0
    cut: bool = False
    filler_mib: int = 0
    bomb: bool = False

    def with_header(self, name: str, value: str) -> "Reply":
        """Return it with one more header."""
        return replace(self, headers=(*self.headers, (name, value)))

    def compressed(self) -> "Reply":
        """Return it with a gzip body, if it is an ordinary one."""
        if self.filler_mib or not self.status:
            return self
        packed = replace(self, body=gzip.compress(self.body, compresslevel=1, mtime=0))
        return packed.with_header("content-encoding", "gzip")


def failure(status: int, message: str, code: str | None = None) -> Reply:
    """Return the provider's error envelope; with the code that goes with the status, unless given."""
    error = {"code": code or _CODES.get(status, "INTERNAL_ERROR"), "message": message}
    return Reply(msgspec.json.encode({"success": False, "error": error}), status)


def with_faults(answer: Reply, faults: list[Fault]) -> Reply:
    """Return an answer as these faults leave it, the oldest first; delays add up."""
    for fault in faults:
        if fault.kind is FaultKind.STATUS:
            failed = failure(fault.status, "the scenario says so", fault.code)
            answer = replace(failed, delay_s=answer.delay_s)
            for name, value in (("retry-after", fault.retry_after), ("location", fault.location)):
                if value is not None:
                    answer = answer.with_header(name, value)
        else:
            answer = replace(answer, **_changes(answer, fault)[fault.kind])
    return answer


def _changes(answer: Reply, fault: Fault) -> dict[FaultKind, dict[str, Any]]:
    return {
        FaultKind.DELAY: {"delay_s": answer.delay_s + fault.delay_s},
        FaultKind.DROP: {"status": 0},
        FaultKind.TRUNCATED: {"cut": True},
        FaultKind.STALL: {"stall_s": fault.delay_s},
        FaultKind.GARBAGE: {"body": b"<html>Bad things happened</html>", "status": 200},
        FaultKind.REFUSED: {"body": failure(400, "the scenario says so", fault.code).body, "status": 200},
        FaultKind.HUGE: {"filler_mib": fault.size_mib},
        FaultKind.BOMB: {"filler_mib": fault.size_mib, "bomb": True},
    }


async def send(answer: Reply, scope: Scope, receive: Receive, send_message: Send, clock: Clock) -> None:
    """Send an answer, or whatever it leaves of itself."""
    if answer.delay_s and await _gone_while(answer.delay_s, receive, clock):
        return
    if not answer.status:
        await _hang_up(scope, receive, flush=False)
        return
    if answer.filler_mib:
        await _send_large(answer, send_message, clock)
        return
    await _start(answer, send_message, size_bytes=len(answer.body))
    half = len(answer.body) // 2 if answer.cut or answer.stall_s else 0
    if half:
        await send_message({"type": "http.response.body", "body": answer.body[:half], "more_body": True})
    if answer.cut:
        await _hang_up(scope, receive, flush=True)
        return
    if answer.stall_s and await _gone_while(answer.stall_s, receive, clock):
        return
    await send_message({"type": "http.response.body", "body": answer.body[half:]})


async def _start(answer: Reply, send_message: Send, size_bytes: int | None) -> None:
    headers = list(answer.headers)
    if size_bytes is not None:
        headers.append(("content-length", str(size_bytes)))
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send_message({"type": "http.response.start", "status": answer.status, "headers": raw})


async def _send_large(answer: Reply, send_message: Send, clock: Clock) -> None:
    """Send the body with its filler in chunks, without saying its length before."""
    if answer.bomb:
        answer = answer.with_header("content-encoding", "gzip")
    await _start(answer, send_message, size_bytes=None)
    packer = zlib.compressobj(1, zlib.DEFLATED, _GZIP_WINDOW_BITS)
    for chunk in _filled(answer):
        packed = packer.compress(chunk) if answer.bomb else chunk
        await send_message({"type": "http.response.body", "body": packed, "more_body": True})
        await clock.sleep(0)  # give way: a bomb is compressed between two of these
    rest = packer.flush() if answer.bomb else b""
    await send_message({"type": "http.response.body", "body": rest})


def _filled(answer: Reply) -> Iterator[bytes]:
    yield answer.body[:-1] + b',"filler":"'
    chunk = b"x" * _CHUNK_BYTES
    for _ in range(answer.filler_mib * _MIB // _CHUNK_BYTES):
        yield chunk
    yield b'"}'


async def _gone_while(seconds: float, receive: Receive, clock: Clock) -> bool:
    """Wait; return whether the client went away meanwhile."""
    waiting = asyncio.ensure_future(clock.sleep(seconds))
    leaving = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return not waiting.done()
    finally:
        for task in (waiting, leaving):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _hang_up(scope: Scope, receive: Receive, *, flush: bool) -> None:
    hang_up = scope.get("extensions", {}).get(HANG_UP)
    if hang_up is None:
        raise ConnectionAbortedError("the scenario drops this connection")
    hang_up(flush)
    await _disconnected(receive)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
