"""The SQLite store's file: one daemon at a time, its mode, and whether it is still the one that is open."""

import contextlib
import errno
import fcntl
import os
import stat
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

from monitor.errors import StartError
from monitor.secret import file_stamp
from monitor.store.trouble import Trouble

PRIVATE = 0o600
"""The store holds phone numbers. SQLite gives its -wal and -shm files the mode of the database."""

_LOCKED_BYTE = 2**40
_USER_VERSION = (60, 4)
"""Where a database has its user_version, and its length.

Source: https://www.sqlite.org/fileformat2.html#the_database_header
"""
_SMALLEST_DATABASE = 512
_PROBE = bytes(4096)

_REFUSALS = {
    errno.ENOSPC: Trouble.FULL,
    errno.EDQUOT: Trouble.QUOTA,
    errno.EFBIG: Trouble.TOO_LARGE,
    errno.EROFS: Trouble.READ_ONLY,
    errno.EIO: Trouble.DISK,
}


class DaemonLock:
    """Holds a SQLite database for one daemon until closed, and watches that it stays the one at its path.

    Two locks, as a file can be reached by many paths:

    - A flock on `NAME.lock` beside the real file, behind all symbolic links. It guards the name, by which
      SQLite finds the write-ahead log: a daemon on a new file of that name would read the old one's.
    - A lock on the database's inode, for hard links, and for a file that is mounted elsewhere by itself. It
      belongs to the open file, not to the process, and is on a byte that SQLite never locks. (A flock would
      not do: over NFS it locks the whole file, and SQLite runs into it.) A process that closes *any*
      descriptor of a file loses its POSIX locks on it, SQLite's among them: so this descriptor stays open
      until SQLite has closed the file.
      Source: https://www.sqlite.org/howtocorrupt.html (section 2.2), fcntl(2) and flock(2) of Linux.

    Raises:
        StartError: Another daemon holds it, or a file cannot be opened.
    """

    def __init__(self, file: Path) -> None:
        self._file = file.absolute()
        self._real = Path(os.path.realpath(file))
        self._side = self._real.with_name(self._real.name + ".lock")
        self._log = log_of(file)
        self._marks: set[int] | None = None
        require_folder(self._real)
        with contextlib.ExitStack() as stack:
            self._side_fd = self._lock_name()
            stack.callback(os.close, self._side_fd)
            with _explained(f"cannot open the store {self._file}", self._real):
                self._fd = open_private(self._real)
            stack.callback(os.close, self._fd)
            if not stat.S_ISREG(os.fstat(self._fd).st_mode):
                raise StartError(f"cannot open the store {self._file}: it is not a regular file")
            if not _lock_inode(self._fd):
                raise self._taken()
            stack.pop_all()

    def look(self) -> Trouble | None:
        """Return what has become of the files since they were opened; it may block."""
        try:
            found = self._file.stat()
        except OSError as exc:
            gone = exc.errno in (errno.ENOENT, errno.ENOTDIR)
            return Trouble.REMOVED if gone else _REFUSALS.get(exc.errno or 0, Trouble.UNOPENED)
        if not os.path.samestat(found, os.fstat(self._fd)):
            return Trouble.REPLACED
        if self._marks is not None and self.mark() not in self._marks:
            return Trouble.OVERWRITTEN
        if self._log_is_gone():
            return Trouble.LOG_REMOVED
        return self._look_at_lock()

    def expect(self, mark: int) -> None:
        """Expect this mark in the file from now on, besides those that it may still have.

        Before the first one has reached it, any is expected: the log may bring one of an earlier process.
        """
        if self._marks is not None:
            self._marks.add(mark)

    def confirm(self, mark: int) -> None:
        """Expect this mark alone, if it has reached the file."""
        if self.mark() == mark:
            self._marks = {mark}

    def mark(self) -> int | None:
        """Return the mark that the file itself holds, whatever is in the log; None if it is empty."""
        offset, length = _USER_VERSION
        found = os.pread(self._fd, length, offset)
        return int.from_bytes(found, "big") if len(found) == length else None

    def log_size(self) -> int:
        """Return the size of the write-ahead log in bytes."""
        try:
            return self._log.stat().st_size
        except OSError:
            return 0

    def refusal(self) -> Trouble | None:
        """Return why the disk takes no more, where SQLite only says that it failed; it may block.

        A block is written to the lock's file, as far into it as the log goes, and taken back.
        """
        try:
            os.pwrite(self._side_fd, _PROBE, self.log_size())
            os.ftruncate(self._side_fd, 0)
        except OSError as exc:
            with contextlib.suppress(OSError):
                os.ftruncate(self._side_fd, 0)
            return _REFUSALS.get(exc.errno or 0)
        return None

    def close(self) -> None:
        """Let the next daemon in; only once SQLite has closed the file."""
        os.close(self._fd)
        os.close(self._side_fd)
        self._fd = self._side_fd = -1  # others get these numbers next

    def _lock_name(self) -> int:
        with _explained("cannot lock the store", self._side):
            fd = open_private(self._side)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(fd)
            if exc.errno in (errno.EAGAIN, errno.EACCES):
                raise self._taken() from exc
            raise StartError(f"cannot lock the store: {self._side}: {exc.strerror}") from exc
        return fd

    def _taken(self) -> StartError:
        return StartError(
            f"the store {self._file} is in use by another daemon: stop it, or give this one its own store.url"
        )

    def _look_at_lock(self) -> Trouble | None:
        """Look at the lock's file; where it is gone, take a new one for the next time."""
        with contextlib.suppress(OSError):
            if os.path.samestat(self._side.stat(), os.fstat(self._side_fd)):
                return None
        with contextlib.suppress(StartError):
            again = self._lock_name()
            os.close(self._side_fd)
            self._side_fd = again
        return Trouble.LOCK_REMOVED

    def _log_is_gone(self) -> bool:
        """Whether SQLite has a log or an index open that is no longer at its path; known on Linux only."""
        opened = set()
        for each in Path("/proc/self/fd").glob("*"):
            with contextlib.suppress(OSError):  # closed meanwhile
                opened.add(str(each.readlink()))
        log, index = str(self._log), f"{self._real}-shm"
        if opened & {f"{log} (deleted)", f"{index} (deleted)"}:
            return True
        return index in opened and log not in opened  # it was moved away


def open_private(path: Path) -> int:
    """Open a file to read and write; one that is made is for its owner alone, whatever the umask.

    Raises:
        OSError: It cannot be opened.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
    except FileExistsError:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    with contextlib.suppress(OSError):  # some file systems have no modes
        os.fchmod(fd, PRIVATE)
    return fd


def make_private(path: Path) -> None:
    """Make a file that is not there yet; where that fails, SQLite says so when it opens it."""
    with contextlib.suppress(OSError):
        if not path.exists():  # one that is there may be open: to close it here would cost SQLite its locks
            os.close(open_private(path))


def require_folder(file: Path) -> None:
    """See that the folder is there: it is not made silently, as a typing error would lose the state.

    Raises:
        StartError: It is not.
    """
    with _explained(f"cannot open the store {file}", file.parent):
        if not file.parent.is_dir():
            raise StartError(f"the store's folder does not exist: {file.parent}: create it")


def require_file(file: Path) -> None:
    """See that there is a store, for commands that must not make one.

    Raises:
        StartError: There is not, or it is not for this user to know.
    """
    with _explained(f"cannot open the store {file}", file):
        if not file.exists():
            raise StartError(f"no store at {file}: the daemon creates it when it first starts")


def exposure(database: Path) -> str | None:
    """Return what to warn about if other users may read or write a database.

    That may be intended, so it stays as it is.
    """
    try:
        mode = stat.S_IMODE(database.stat().st_mode)
    except OSError:
        return None
    if not mode & 0o077:
        return None
    return (
        f"the store {database} is open to other users (mode {mode:04o}), and holds phone numbers: unless "
        f"that is intended, chmod {PRIVATE:04o} it and its -wal and -shm files"
    )


def log_of(file: Path) -> Path:
    """Return the path of a database's write-ahead log: SQLite keeps it beside the real file."""
    return Path(f"{os.path.realpath(file)}-wal")


def is_too_short(file: Path) -> bool:
    """Whether something is in the file that is no database; SQLite takes such a file for an empty one."""
    try:
        return 0 < file.stat().st_size < _SMALLEST_DATABASE
    except OSError:
        return False


def _lock_inode(fd: int) -> bool:
    """Return False if another process has locked the inode; True also where such locks are unknown."""
    if sys.platform != "linux":
        return True
    # struct flock: type, whence, start, length, and the pid that must be 0.
    wanted = struct.pack("hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, _LOCKED_BYTE, 1, 0)
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, wanted)
    except OSError as exc:
        return exc.errno not in (errno.EAGAIN, errno.EACCES)
    return True


@contextlib.contextmanager
def _explained(doing: str, path: Path) -> Iterator[None]:
    """Say why a file cannot be opened, and whose it is where that is the reason."""
    try:
        yield
    except IsADirectoryError as exc:
        raise StartError(f"{doing}: unable to open database file: it is a folder") from exc
    except OSError as exc:
        said = f"{doing}: {path}: {exc.strerror}"
        if exc.errno in (errno.EACCES, errno.EPERM):
            what = next(each for each in (path, *path.parents) if file_stamp(each) is not None)
            said += f"; {what} belongs to user {what.stat().st_uid}, this process is user {os.geteuid()}"
        raise StartError(said) from exc
