"""Secrets: given as a value or as a file that is read again when it changes; never shown."""

from pathlib import Path

from monitor.errors import StartError

FileStamp = tuple[int, int, int]


def file_stamp(file: Path) -> FileStamp | None:
    """Return what tells one state of a file from the next; None if it is not there or unreadable."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


class Secret:
    """A secret that can be revealed on purpose only: `str`, `repr` and pickling show stars.

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
        """The file it comes from, if it does."""
        return self._file

    def reveal(self) -> str:
        """Return the secret. Reads no file: `refresh` does."""
        return self._value

    def refresh(self) -> bool:
        """Read the file again if it changed; return whether the secret is another now.

        Blocks on the file system: call it from a thread. A file that went away or became unreadable
        keeps the secret as it was (a mount that is being replaced has such moments).
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
        return "Secret(**********)"

    __str__ = __repr__

    def __reduce__(self) -> tuple[type["Secret"], tuple[()]]:
        return Secret, ()
