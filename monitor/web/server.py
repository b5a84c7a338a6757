"""The HTTP server, embedded in the daemon's own event loop."""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from monitor.errors import StartError, out_of_resources
from monitor.web.listener import ConnectionMetrics, Limits, Listener
from monitor.web.tls import Certificate

_FIRST_UNPRIVILEGED = 1024
_DATE_S = 1.0


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to this address; it accepts once a `WebServer` starts on it.

    Looks the host up and so may block: call it before the loop has work, or from a thread.

    Args:
        host: A name or an address, IPv4 or IPv6 (without brackets).
        port: 0 for any free one.

    Raises:
        StartError: The address is taken, unknown, or not one of this host.
    """
    sock, address = _socket_for(host, port)
    try:
        sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # a restart need not wait for old connections
        sock.bind(address)
        sock.listen()  # two sockets may share a bound address, but not a listening one: find out now
    except OSError as exc:
        sock.close()
        raise _cannot_listen(host, port, exc) from exc
    sock.setblocking(False)
    return sock


def check_address(host: str, port: int) -> None:
    """See that an address is one that this process could listen on, were its port free.

    The port is left alone, as whoever has it may be the daemon that runs. Only one that needs a privilege is
    tried, without listening on it.

    Args:
        host: As for `bind`, and as slow.
        port: As for `bind`.

    Raises:
        StartError: The host is unknown or not this one, or the port needs a privilege.
    """
    sock, address = _socket_for(host, port)
    asked = port if port < _FIRST_UNPRIVILEGED else 0
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((address[0], asked, *address[2:]))
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise _cannot_listen(host, port, exc) from exc


def _socket_for(host: str, port: int) -> tuple[socket.socket, Any]:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.socket(family, kind, protocol), address
    except OSError as exc:
        raise _cannot_listen(host, port, exc) from exc


def _cannot_listen(host: str, port: int, exc: OSError) -> StartError:
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    # getaddrinfo's codes are not errno values: its own text is the one that means something.
    reason = exc.strerror if isinstance(exc, socket.gaierror) else os.strerror(exc.errno or 0)
    lack = out_of_resources(exc)
    if lack is not None:
        return StartError(f"cannot listen on {shown}: {lack}")
    hint = "change web.listen"
    if exc.errno == errno.EADDRINUSE:
        hint += " or stop the other process"
    return StartError(f"cannot listen on {shown}: {(reason or str(exc)).lower()}; {hint}")


class WebServer:
    """Serves an application until it is stopped.

    Args:
        app: The application.
        sock: From `bind`; closed by `stop`.
        limits: How many connections may be open, and for how long.
        metrics: Counts connections.
        on_error: Called with what it was doing, and an error that is not a client's.
        tls_cert_file: PEM, with the chain; None to serve plain HTTP.
        tls_key_file: PEM; None if the key is in the certificate's file.
        stop_timeout_s: Seconds that requests in flight get to end.

    Raises:
        StartError: The certificate or its key cannot be used.
    """

    def __init__(
        self,
        app: ASGIApp,
        sock: socket.socket,
        *,
        metrics: ConnectionMetrics,
        on_error: Callable[[str, BaseException], None],
        limits: Limits | None = None,
        tls_cert_file: Path | None = None,
        tls_key_file: Path | None = None,
        stop_timeout_s: int = 3,
    ) -> None:
        limits = limits or Limits()
        config = uvicorn.Config(
            app,
            workers=1,  # by itself it would read WEB_CONCURRENCY, and fail if that is no number
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=limits.idle_s,
            timeout_graceful_shutdown=stop_timeout_s,
        )
        self._certificate = Certificate(tls_cert_file, tls_key_file) if tls_cert_file is not None else None
        if self._certificate is not None:
            context = self._certificate.context
            config.ssl_context_factory = lambda _config, _default: context
        config.load()
        self._sock = sock
        self._server = _EmbeddedServer(
            config, partial(Listener, sock, limits=limits, metrics=metrics, on_error=on_error)
        )
        self._task: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """The address of the status page."""
        host, port = self._sock.getsockname()[:2]
        scheme = "http" if self._certificate is None else "https"
        return f"{scheme}://[{host}]:{port}/" if ":" in host else f"{scheme}://{host}:{port}/"

    async def refresh_certificate(self) -> bool:
        """Read the certificate and its key again if they changed; return whether another pair is in use now.

        Connections go on; new ones get the new pair.

        Raises:
            StartError: They cannot be used; the pair in use stays. Said once for each change.
        """
        return self._certificate is not None and await asyncio.to_thread(self._certificate.refresh)

    async def start(self) -> None:
        """Serve; return once connections are accepted."""
        self._task = asyncio.create_task(self._server.serve(), name="web")
        listening = asyncio.create_task(self._server.listening.wait())
        try:
            await asyncio.wait((self._task, listening), return_when=asyncio.FIRST_COMPLETED)
        finally:
            listening.cancel()
        if self._task.done():
            self._task.result()

    async def stop(self) -> None:
        """Accept nothing more, let requests in flight end for `stop_timeout_s`, close every connection."""
        if self._task is None:
            self._sock.close()
            return
        self._server.ending.set()
        try:
            await self._task
        finally:
            self._server.abort_connections()
            self._sock.close()


class _EmbeddedServer(uvicorn.Server):
    """A server with its own listener, that leaves the process alone: signals belong to the daemon."""

    def __init__(self, config: uvicorn.Config, listener: Callable[..., Listener]) -> None:
        super().__init__(config)
        self._listener = listener
        self.listening, self.ending = asyncio.Event(), asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - as in uvicorn
        """Start, and say so."""
        await self.lifespan.startup()
        listener = self._listener(config=self.config, state=self.server_state)
        listener.start()
        self.servers = [listener]  # type: ignore[list-item]  # the two methods that uvicorn calls are there
        self.started = True
        self.listening.set()

    async def main_loop(self) -> None:
        """Serve until it is to end; uvicorn would look ten times a second whether it is."""
        while not self.ending.is_set():
            await self.on_tick(0)  # sets the date that answers carry
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ending.wait(), _DATE_S)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop; first hang up on idle TLS connections: closing one waits until its client says goodbye."""
        for connection in list(self.server_state.connections):
            if _is_idle_tls(connection):
                connection.transport.abort()
        await super().shutdown(sockets=sockets)

    def abort_connections(self) -> None:
        """Close what did not end in time; uvicorn only cancels their tasks."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def _is_idle_tls(connection: Any) -> bool:
    answered = connection.cycle is None or connection.cycle.response_complete
    written = connection.transport.get_write_buffer_size() == 0
    return bool(connection.scheme == "https" and answered and written)
