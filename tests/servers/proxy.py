"""A real HTTP proxy that records what it is asked: CONNECT for tunnels, absolute addresses for plain HTTP."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request to the proxy. `authorization` is its `Proxy-Authorization` header, empty without one."""

    method: str
    target: str
    authorization: str


@dataclass
class HttpProxy:
    """A proxy on a free port of 127.0.0.1; `asked` holds all that came, oldest first."""

    asked: list[Asked] = field(default_factory=list)
    address: str = ""

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{self.address}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, to its end."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.rstrip().split("\r\n")
            method, target, version = first.split(" ")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            self.asked.append(
                Asked(method=method, target=target, authorization=headers.get("proxy-authorization", ""))
            )
            parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
            there, back = await asyncio.open_connection(parts.hostname, parts.port)
            with contextlib.closing(back):
                if method == "CONNECT":
                    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                else:
                    # Only one request a connection, so that each is seen.
                    kept = [line for line in lines if not line.lower().startswith(("connection:", "proxy-"))]
                    path = target.partition(parts.netloc)[2] or "/"
                    sent = [f"{method} {path} {version}", *kept, "Connection: close", "", ""]
                    back.write("\r\n".join(sent).encode("latin-1"))
                await asyncio.gather(_pump(reader, back), _pump(there, writer))


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        sink.write(data)
        await sink.drain()
    with contextlib.suppress(NotImplementedError):  # TLS cannot close one side only
        if sink.can_write_eof():
            sink.write_eof()
        else:
            sink.close()


@contextlib.asynccontextmanager
async def running_proxy(tls: ssl.SSLContext | None = None) -> AsyncIterator[HttpProxy]:
    """Run a proxy, with TLS if given; end every connection at the end."""
    proxy = HttpProxy()
    serving: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(proxy.serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    proxy.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        for task in list(serving):
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await server.wait_closed()
