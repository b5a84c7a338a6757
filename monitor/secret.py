"""Secrets from a value or from a file that is read again when it changes."""

from pathlib import Path

from monitor.errors import StartError

STARS = "**********"
"""What stands where a secret was."""

FileStamp = tuple[int, int, int]


def file_stamp(file: Path) -> FileStamp | None:
    """Return what changes whenever the file does; None if it is missing or unreadable."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


class Secret:
    """A secret that only `reveal` shows; `str`, `repr` and pickling give stars.

    Args:
        value: The secret itself, or
        file: A file that holds it (surrounding white space is dropped).

    Raises:
        StartError: The file cannot be read or is empty.
    """

    __slots__ = ("_file", "_stamp", "_value")

    def __init__(self, value: str | None = None, *, file: Path | None = None) -> None:
        self._file = file
        self._stamp: FileStamp | None = None
        self._value = value or ""
        if file is not None:
            self._read(file)

    @property
    def file(self) -> Path | None:
        """The file that it comes from, if any."""
        return self._file

    def reveal(self) -> str:
        """Return the secret, without reading the file again."""
        return self._value

    def refresh(self) -> bool:
        """Read the file again if it changed; return whether the secret changed.

        Blocks on the file system: call it from a thread. If the file is missing or unreadable,
        the secret stays as it was (this happens while a mount is being replaced).
        """
        if self._file is None:
            return False
        before = self._value
        try:
            if file_stamp(self._file) != self._stamp:
                self._read(self._file)
        except StartError:
            return False
        return self._value != before

    def _read(self, file: Path) -> None:
        try:
            stamp = file_stamp(file)
            value = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
            raise StartError(f"secret file {file} cannot be read: {reason}") from exc
        if not value:
            raise StartError(f"secret file {file} is empty")
        self._stamp, self._value = stamp, value

    def __repr__(self) -> str:
        return f"Secret({STARS})"

    __str__ = __repr__

    def __reduce__(self) -> tuple[type["Secret"], tuple[()]]:
        return Secret, ()
