"""Secrets from a value or from a file that is read again when it changes."""

import codecs
import re
import stat
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from monitor.errors import StartError

STARS = "**********"
"""What stands where a secret was."""

FileStamp = tuple[int, int, int]


def file_stamp(file: Path) -> FileStamp | None:
    """Return what changes whenever the file does; None if it is missing or unreadable."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


_AROUND = re.compile(r"\A[\s\u200b-\u200d\u2060\ufeff]+|[\s\u200b-\u200d\u2060\ufeff]+\Z")
"""White space, and what editors and web pages add that looks like none."""


def trimmed(value: str) -> str:
    """Return a value without white space and invisible characters around it, line ends included."""
    return _AROUND.sub("", value)


def read_text(file: Path) -> str:
    """Return the text of a file that a person wrote, without a byte order mark.

    Raises:
        OSError: It cannot be read.
        ValueError: As for `text_of`.
    """
    return text_of(file.read_bytes())


def text_of(raw: bytes) -> str:
    """Return the text in a file's bytes, without a byte order mark.

    Raises:
        ValueError: It is not UTF-8; says so of "the file", and nothing of what is in it.
    """
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in raw:
        raise ValueError("is UTF-16 text, or binary: save it as UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None


def _require_end(file: Path) -> None:
    """Refuse a pipe, where reading may wait for ever, and a device, which may never end.

    Raises:
        OSError: There is no such file.
        ValueError: It is one of them.
    """
    mode = file.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ValueError("is a pipe or a device")


class Secret:
    """A secret that only `reveal` shows; `str`, `repr` and pickling give stars.

    Args:
        value: The secret itself, or
        file: A file that holds it (what `trimmed` drops is dropped).
        check: Raises ValueError if what the file holds cannot be used.

    Raises:
        StartError: The file cannot be read or is empty.
        ValueError: From `check`.
    """

    __slots__ = ("_check", "_file", "_stamp", "_value", "refused")

    def __init__(
        self,
        value: str | None = None,
        *,
        file: Path | None = None,
        check: Callable[[str], object] | None = None,
    ) -> None:
        self._file = file
        self._check = check
        self._stamp: FileStamp | None = None
        self._value = value or ""
        self.refused: str | None = None
        """Why what the file holds now is not in use, without what it holds; None if it is in use."""
        if file is not None:
            self._read(file)

    @classmethod
    def absent(cls, file: Path) -> "Secret":
        """Return what stands in for the secret of a file that is not there: a URL, and no other's secret."""
        found = cls(f"https://absent.invalid/{quote(str(file))}")
        found._file = file
        return found

    @property
    def file(self) -> Path | None:
        """The file that it comes from, if any."""
        return self._file

    def reveal(self) -> str:
        """Return the secret, without reading the file again."""
        return self._value

    def refresh(self, before_use: Callable[[str], object] | None = None) -> bool:
        """Read the file again if it changed; return whether the secret changed.

        Blocks on the file system: call it from a thread. If the file is missing, or what it holds cannot
        be used, the secret stays as it was (this happens while a mount is being replaced).

        Args:
            before_use: Gets a new value before `reveal` returns it.
        """
        if self._file is None:
            return False
        before = self._value
        try:
            if file_stamp(self._file) != self._stamp:
                self._read(self._file, before_use)
        except (StartError, ValueError) as exc:
            self.refused = str(exc)
            return False
        self.refused = None
        return self._value != before

    def _read(self, file: Path, before_use: Callable[[str], object] | None = None) -> None:
        try:
            stamp = file_stamp(file)
            _require_end(file)
            value = trimmed(read_text(file))
        except (OSError, ValueError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else f"it {exc}"
            raise StartError(f"secret file {file} cannot be read: {reason}") from exc
        if not value:
            raise StartError(f"secret file {file} is empty")
        if self._check is not None:
            self._check(value)
        if before_use is not None and value != self._value:
            before_use(value)
        self._stamp, self._value = stamp, value

    def __repr__(self) -> str:
        return f"Secret({STARS})"

    __str__ = __repr__

    def __reduce__(self) -> tuple[type["Secret"], tuple[()]]:
        return Secret, ()
