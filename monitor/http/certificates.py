"""Which certificate authorities every client of the program trusts."""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import certifi

from monitor.errors import StartError
from monitor.secret import FileStamp, file_stamp

FILE, FOLDER = "SSL_CERT_FILE", "SSL_CERT_DIR"
"""What takes the place of OpenSSL's own file and folder, for other programs too."""

_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")
"""What OpenSSL looks for in a folder: https://docs.openssl.org/3.0/man1/openssl-rehash/"""


@dataclass(frozen=True, slots=True)
class _Loaded:
    path: str
    stamp: FileStamp | None
    context: ssl.SSLContext


class Authorities:
    """The authorities of the system, or those of a `ca_file` in their place.

    Reading a system's list takes some 40 ms, so all clients share one. A file is read again when a client is
    built after it changed, that is at a reload; a folder of the system's is searched by OpenSSL as it goes.

    Args:
        environ: May hold SSL_CERT_FILE and SSL_CERT_DIR.
        usual: Where OpenSSL looks otherwise; what it was built with unless given.

    Raises:
        StartError: One of the two cannot be used. Names the variable.
    """

    def __init__(
        self, environ: Mapping[str, str] | None = None, usual: ssl.DefaultVerifyPaths | None = None
    ) -> None:
        usual = usual or ssl.get_default_verify_paths()
        environ = environ or {}
        self._given_file, self._given_folder = environ.get(FILE, ""), environ.get(FOLDER, "")
        self._file = self._given_file or usual.openssl_cafile
        self._folder = self._given_folder or usual.openssl_capath
        self._loaded: dict[Path | None, _Loaded] = {}
        self._warnings: list[str] = []
        if self._given_file or self._given_folder:
            self.context()

    @property
    def warnings(self) -> list[str]:
        """What is doubtful about the system's list."""
        self.context()
        return self._warnings

    def context(self, ca_file: Path | None = None) -> ssl.SSLContext:
        """Return what a client trusts; the same object as long as its file stays the same.

        Args:
            ca_file: PEM file of the authorities to trust instead of the system's.

        Raises:
            StartError: A file or folder cannot be used.
        """
        return self._of(ca_file).context

    def path(self, ca_file: Path | None = None) -> str:
        """Return the file that holds the same authorities, or the folder, for what takes no context.

        Of a system that has both: the one that the environment names, and the file before the folder.

        Raises:
            StartError: A file or folder cannot be used.
        """
        return self._of(ca_file).path

    def stamp(self, ca_file: Path | None = None) -> FileStamp | None:
        """Return what changes whenever the file does; None if there is none."""
        return file_stamp(ca_file or Path(self._file))

    def _of(self, ca_file: Path | None) -> _Loaded:
        stamp = self.stamp(ca_file)
        loaded = self._loaded.get(ca_file)
        if loaded is None or loaded.stamp != stamp:
            loaded = self._system(stamp) if ca_file is None else self._own(ca_file, stamp)
            self._loaded[ca_file] = loaded
        return loaded

    def _own(self, file: Path, stamp: FileStamp | None) -> _Loaded:
        try:
            return _Loaded(str(file), stamp, ssl.create_default_context(cafile=file))
        except OSError as exc:
            raise StartError(f"the CA file {file} cannot be read: {_reason(exc)}") from exc

    def _system(self, stamp: FileStamp | None) -> _Loaded:
        """Return the system's, as OpenSSL itself would find them: both the file and the folder."""
        listed = filter(None, self._folder.split(":"))
        searched = [folder for folder in listed if _holds_certificates(Path(folder))]
        if self._given_folder and not searched:
            raise StartError(
                f"{FOLDER}: no folder in it holds certificates that `openssl rehash` has linked; "
                "correct it, or unset the variable"
            )
        folder = ":".join(searched)
        try:
            context = ssl.create_default_context(cafile=self._file, capath=folder or None)
        except OSError as exc:
            if self._given_file:
                raise StartError(
                    f"{FILE}: the file cannot be read: {_reason(exc)}; correct it, or unset the variable"
                ) from exc
        else:
            given_folder_alone = self._given_folder and not self._given_file
            return _Loaded(searched[0] if given_folder_alone else self._file, stamp, context)
        if searched:
            return _Loaded(searched[0], stamp, ssl.create_default_context(capath=folder))
        instead = certifi.where()
        looked = f"no CA certificates in {self._file} or {self._folder}"
        self._warnings = [
            f"{looked}: using those of the package certifi; install ca-certificates, or set {FILE}"
        ]
        return _Loaded(instead, stamp, ssl.create_default_context(cafile=instead))


def _holds_certificates(folder: Path) -> bool:
    try:
        return any(_HASHED.fullmatch(entry.name) for entry in folder.iterdir())
    except OSError:
        return False


def _reason(exc: OSError) -> str:
    if isinstance(exc, ssl.SSLError):
        return "it holds no certificate in PEM form"
    return exc.strerror or type(exc).__name__
