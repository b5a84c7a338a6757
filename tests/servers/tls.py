"""Certificates for local servers, of authorities that no system trusts."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Tls:
    """A certificate for loopback addresses, and the file of the authority that issued it."""

    context: ssl.SSLContext
    ca_file: Path


def issued(folder: Path) -> Tls:
    """Return a certificate of a new authority, whose own goes into `ca.pem` in a folder."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1", "::1", "localhost").configure_cert(context)
    folder.mkdir(exist_ok=True)
    file = folder / "ca.pem"
    authority.cert_pem.write_to_path(file)
    return Tls(context, file)
