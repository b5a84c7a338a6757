"""The certificate of the web listener, reloaded when its files change."""

import contextlib
import ssl
from datetime import UTC, datetime
from pathlib import Path

from monitor.errors import StartError, out_of_resources
from monitor.secret import FileStamp, file_stamp

_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME. Source: https://docs.openssl.org/3.0/man3/X509_VERIFY_PARAM_set_flags/"""


class Certificate:
    """A certificate with its key; a renewed pair counts for connections that begin from then on.

    A pair is loaded into a context of its own, and taken over whole or not at all: loading into the context
    in use could leave the new certificate there without its key.

    Args:
        cert_file: PEM, with the chain.
        key_file: PEM; None if the key is in the certificate's file.

    Raises:
        StartError: The certificate or its key cannot be used.
    """

    def __init__(self, cert_file: Path, key_file: Path | None = None) -> None:
        self._files = (cert_file, key_file or cert_file)
        self._stamp = self._stamps()
        self._current = self._load()
        self.context = self._current
        """What the listener is given; every handshake goes on with the newest pair."""
        self.context.sni_callback = self._newest

    def refresh(self) -> bool:
        """Read the files again if they changed; return whether another pair is in use now.

        Blocks on the file system: call it from a thread.

        Raises:
            StartError: They cannot be used, the pair in use stays. Said once for each change.
            OutOfResources: This process could not read them; they are tried again.
        """
        stamp = self._stamps()
        if stamp == self._stamp:
            return False
        try:
            self._current = self._load()
        except StartError as exc:
            lack = out_of_resources(exc)
            if lack is not None:
                raise lack from exc
            self._stamp = stamp
            raise
        self._stamp = stamp
        return True

    def expires_at(self) -> datetime | None:
        """Return until when the certificate in use is valid; None if it cannot be told.

        Asked the way a client finds out, by a handshake in memory: there is no other in the standard library.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        # Whoever issued it, and however old it is.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
        try:
            context.load_verify_locations(self._files[0])
            shown = _shown_to(context, self.context).getpeercert() or {}
            return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(shown["notAfter"])), UTC)
        except (OSError, ValueError, KeyError):
            return None

    def _newest(
        self, tls: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context: ssl.SSLContext
    ) -> None:
        """Give a handshake the newest pair. OpenSSL asks whether or not the client names a server."""
        if tls.context is not self._current:
            tls.context = self._current

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        context.set_alpn_protocols(["http/1.1"])
        cert_file, key_file = self._files
        try:
            # An empty password: OpenSSL would ask the terminal for that of an encrypted key, and wait.
            context.load_cert_chain(cert_file, key_file, password="")
        except (OSError, ValueError) as exc:  # ssl.SSLError is an OSError
            raise StartError(
                f"web.tls_cert_file or web.tls_key_file cannot be used: {_reason(exc, key_file)} "
                f"({cert_file}, {key_file})"
            ) from exc
        return context

    def _stamps(self) -> tuple[FileStamp | None, ...]:
        return tuple(file_stamp(file) for file in self._files)


def _shown_to(client: ssl.SSLContext, server: ssl.SSLContext) -> ssl.SSLObject:
    """Return the client's side of a connection whose handshake is done."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server, server_side=False)
    answering = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (asking, answering, asking):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return asking


def _is_encrypted(key_file: Path) -> bool:
    try:
        return b"ENCRYPTED" in key_file.read_bytes()
    except OSError:
        return False


def _reason(exc: Exception, key_file: Path) -> str:
    match exc:
        case ssl.SSLError(reason="KEY_VALUES_MISMATCH"):
            return "the key does not match the certificate"
        case ssl.SSLError() if _is_encrypted(key_file):
            return (
                "the key is encrypted, and there is no one to ask for its password: give an unencrypted key"
            )
        case ssl.SSLError():
            return "they must be PEM files with a certificate and an unencrypted key"
        case OSError():
            return exc.strerror or str(exc)
        case _:
            return str(exc)
