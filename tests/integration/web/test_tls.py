"""TLS with real certificates: versions, renewal, and files that cannot be used."""

import asyncio
import contextlib
import ssl
import warnings
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import trustme

from monitor.errors import OutOfResources, StartError
from monitor.web.server import WebServer
from monitor.web.tls import Certificate
from tests.descriptors import no_descriptors
from tests.integration.web.site import Site

NAMES = ("localhost", "127.0.0.1")
HANDSHAKE = b"\x16"
"""The first byte of a hello. Source: RFC 8446, section 5.1."""


class Files:
    """A certificate and its key, as files that are renewed.

    Args:
        folder: Where.
    """

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.cert, self.key = folder / "tls.crt", folder / "tls.key"
        self.renew()

    def renew(self) -> int:
        """Put another pair there, the way a mount is exchanged; return its serial number."""
        issued = self.ca.issue_cert(*NAMES)
        self.put(self.cert, b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        self.put(self.key, issued.private_key_pem.bytes())
        der = ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())
        return hash(der)

    def put(self, file: Path, content: bytes) -> None:
        """Write a file anew, so that it is another to whoever looks."""
        fresh = file.with_suffix(".new")
        fresh.write_bytes(content)
        fresh.replace(file)

    def context(self) -> ssl.SSLContext:
        """Return a client's context that trusts the issuer."""
        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        return context


@dataclass(kw_only=True)
class Tls:
    """A server with its files, and a client that trusts it."""

    files: Files
    server: WebServer
    port: int

    async def served(self, host: str = "localhost", *, version: ssl.TLSVersion | None = None) -> int:
        """Return which certificate a new connection is shown."""
        context = self.files.context()
        if version is not None:
            context.minimum_version = context.maximum_version = version
        _, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname=host)
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        await writer.wait_closed()
        return hash(shown)


@pytest.fixture
async def tls(site: Site, tmp_path: Path) -> AsyncIterator[Tls]:
    """Serve over TLS."""
    files = Files(tmp_path)
    async with site.serve(files.cert, files.key) as server:
        port = site.client.base_url.port
        assert port is not None
        yield Tls(files=files, server=server, port=port)


async def test_page_is_served_over_tls(tls: Tls) -> None:
    """A client that trusts the issuer gets the page; one that speaks plain HTTP gets nothing."""
    async with httpx.AsyncClient(timeout=60, verify=tls.files.context(), trust_env=False) as client:
        assert (await client.get(f"https://localhost:{tls.port}/-/healthy")).text == "ok\n"
        with pytest.raises(httpx.TransportError):
            await client.get(f"http://localhost:{tls.port}/-/healthy")


@pytest.mark.parametrize("host", NAMES, ids=["server name", "no server name"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_renewed_certificate_is_served(tls: Tls, host: str, version: ssl.TLSVersion) -> None:
    """New connections get the new pair once it is noticed, whether or not they name the server."""
    before = await tls.served(host, version=version)
    renewed = tls.files.renew()
    assert await tls.served(host, version=version) == before
    assert await tls.server.refresh_certificate() is True
    assert await tls.served(host, version=version) == renewed != before
    assert await tls.server.refresh_certificate() is False


async def test_renewal_leaves_connections_alone(tls: Tls) -> None:
    """A connection that was open before goes on."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", tls.port, ssl=tls.files.context(), server_hostname="localhost"
    )
    request = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n"
    writer.write(request)
    assert (await reader.readuntil(b"ok\n")).startswith(b"HTTP/1.1 200")
    tls.files.renew()
    await tls.server.refresh_certificate()
    writer.write(request)
    assert (await reader.readuntil(b"ok\n")).startswith(b"HTTP/1.1 200")
    writer.close()
    await writer.wait_closed()


async def test_stop_does_not_wait_for_an_idle_client(tls: Tls, caplog: pytest.LogCaptureFixture) -> None:
    """A client that keeps its connection, and does not look at it, holds nothing up and causes no error."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", tls.port, ssl=tls.files.context(), server_hostname="localhost"
    )
    writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.readuntil(b"ok\n")
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # a stream's transport can be read from
    await tls.server.stop()
    assert caplog.messages == []
    writer.transport.abort()


@pytest.mark.parametrize("broken", ["certificate", "key", "mismatch", "gone"])
async def test_pair_that_cannot_be_used_keeps_the_old_one(tls: Tls, broken: str) -> None:
    """It is said once; the old pair is served until there is one that can be used."""
    before = await tls.served()
    match broken:
        case "certificate":
            tls.files.put(tls.files.cert, b"nothing\n")
        case "key":
            tls.files.put(tls.files.key, b"")
        case "mismatch":
            tls.files.put(tls.files.key, tls.files.ca.issue_cert("other").private_key_pem.bytes())
        case _:
            tls.files.key.unlink()
    with pytest.raises(StartError, match=r"web\.tls_cert_file or web\.tls_key_file cannot be used: \w+"):
        await tls.server.refresh_certificate()
    assert await tls.server.refresh_certificate() is False
    assert await tls.served() == before
    renewed = tls.files.renew()
    assert await tls.server.refresh_certificate() is True
    assert await tls.served() == renewed


async def test_old_versions_are_refused(tls: Tls) -> None:
    """Nothing below TLS 1.2, also not after a renewal."""
    tls.files.renew()
    await tls.server.refresh_certificate()
    assert (await hello(tls.port, ssl.TLSVersion.TLSv1_2))[:1] == HANDSHAKE
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        assert (await hello(tls.port, version))[:1] != HANDSHAKE


async def hello(port: int, version: ssl.TLSVersion) -> bytes:
    """Return the beginning of what the server answers to a client that speaks one version alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(received, sent, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(offered := sent.read())
    assert offered[:1] == HANDSHAKE
    try:
        return await reader.read(5)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def test_server_without_tls_has_nothing_to_renew(site: Site) -> None:
    """The question is allowed, the answer is no."""
    async with site.serve() as server:
        assert await server.refresh_certificate() is False


def test_encrypted_key_is_refused_without_asking(tmp_path: Path) -> None:
    """A key with a passphrase is an error that says what is needed; nobody is asked on the terminal."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - trustme's own, for this alone

    files = Files(tmp_path)
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"passphrase"),
    )
    files.put(files.key, locked)
    with pytest.raises(StartError, match="an unencrypted key"):
        Certificate(files.cert, files.key)


async def test_pair_that_this_process_cannot_read_is_read_later(tls: Tls) -> None:
    """Without descriptors a renewed pair is not taken for a broken one, and not forgotten."""
    before = await tls.served()
    renewed = tls.files.renew()
    with no_descriptors(), pytest.raises(OutOfResources):
        await tls.server.refresh_certificate()
    assert await tls.served() == before
    assert await tls.server.refresh_certificate() is True
    assert await tls.served() == renewed
