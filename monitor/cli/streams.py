"""Standard output and standard error as commands need them, whatever the caller has made of them.

stdout closed         what is written goes nowhere; the command ends as usual
its reader gone       the command ends without a word, as `head` makes others end
it cannot be written  the command says so on stderr, and fails
stderr                never fails, and waits two seconds at most for a pipe that nobody reads
"""

import contextlib
import errno
import io
import os
import select
from collections.abc import Callable, Iterator
from typing import Any, TextIO, cast

from monitor.clock import SystemClock
from monitor.lines import LineWriter

READER_GONE = 141
"""The exit code of a command whose reader went away: SIGPIPE, as shells know it."""
NOT_WRITTEN = 74
"""EX_IOERR of sysexits.h: its result could not be written."""

_PATIENCE_MS = 2000


class OutputFailed(Exception):  # noqa: N818 - named for what happened
    """Standard output does not take what a command has to say.

    Not a `MonitorError`, nor an OSError: between a command and its end no one handles it.

    Args:
        reason: Why.
        reader_gone: Whether its reader went away.
    """

    def __init__(self, reason: str, *, reader_gone: bool) -> None:
        self.reader_gone = reader_gone
        super().__init__(reason)


def secure_descriptors() -> None:
    """Keep files and sockets that the program opens off descriptors 0, 1 and 2 where they are closed.

    In their place stands the null device, opened the wrong way round, so that using them still fails.
    Source: gnulib's stdopen, https://git.savannah.gnu.org/cgit/gnulib.git/tree/lib/stdopen.c
    """
    for descriptor, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest that is free: this one


def standard_output(stream: TextIO | None, descriptor: int = 1) -> TextIO:
    """Return what stands for `sys.stdout`: writing raises `OutputFailed`, but not if it was closed (None)."""
    return _text(_Output(descriptor, "w", closefd=False), stream)


def standard_error(stream: TextIO | None, descriptor: int = 2) -> TextIO:
    """Return what stands for `sys.stderr`: writing never fails, and hardly waits."""
    return _text(_Errors(descriptor, "w", closefd=False), stream, line_buffering=True)


def give_up(stream: TextIO) -> None:
    """Throw away what a stream from here still holds, and whatever is written to it later."""
    raw = _raw(stream)
    if raw is not None:
        raw.given_up = True


@contextlib.contextmanager
def queued(stream: TextIO, on_lost: Callable[[], None]) -> Iterator[TextIO]:
    """Give a stream that writes to another one from a thread, so that its reader holds up nothing.

    What is not written two seconds after the end is given up. One without a descriptor is given as it is.

    Args:
        stream: From `standard_output`.
        on_lost: Called, in any thread, when something could not be written.

    Raises:
        OutputFailed: Something could not be written.
    """
    raw = _raw(stream)
    if raw is None or raw.given_up:
        yield stream
        return
    writer = LineWriter(raw.fileno(), SystemClock(), on_lost=on_lost)
    try:
        yield cast("TextIO", _Queue(writer, is_terminal=raw.isatty()))
    finally:
        writer.close(_PATIENCE_MS / 1000)
    if writer.failure is not None:
        gone = writer.failure == os.strerror(errno.EPIPE)
        raise OutputFailed(writer.failure, reader_gone=gone)


def _raw(stream: TextIO) -> "_Descriptor | None":
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw if isinstance(raw, _Descriptor) else None


def _text(raw: "_Descriptor", stream: TextIO | None, *, line_buffering: bool = False) -> TextIO:
    raw.given_up = stream is None
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding if stream else "utf-8",
        errors="backslashreplace",  # a terminal that lacks a letter is no reason to fail
        line_buffering=line_buffering or raw.isatty(),
    )


class _Descriptor(io.FileIO):
    """A descriptor; what is written to it once it was given up goes nowhere, also when flushed at exit."""

    given_up = False

    def _written(self, data: Any) -> int:
        """Write a part of it, and wait for that where others made the descriptor non-blocking."""
        while (count := super().write(data)) is None:
            select.select([], [self], [])
        return count


class _Output(_Descriptor):
    def write(self, data: Any) -> int:
        if self.given_up:
            return len(data)
        try:
            return self._written(data)
        except OSError as exc:
            self.given_up = True
            reader_gone = isinstance(exc, BrokenPipeError)
            raise OutputFailed(exc.strerror or str(exc), reader_gone=reader_gone) from exc


class _Errors(_Descriptor):
    def write(self, data: Any) -> int:
        if not (self.given_up or self.isatty()):
            ready = select.poll()
            ready.register(self, select.POLLOUT)
            self.given_up = not ready.poll(_PATIENCE_MS)
            data = data[: select.PIPE_BUF]  # so much a pipe takes at once when it is ready
        if self.given_up:
            return len(data)
        try:
            return self._written(data)
        except OSError:
            self.given_up = True
            return len(data)


class _Queue(io.TextIOBase):
    def __init__(self, writer: LineWriter, *, is_terminal: bool) -> None:
        self._writer = writer
        self._is_terminal = is_terminal
        self._begun = ""

    def isatty(self) -> bool:
        return self._is_terminal

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._writer.write(line)
        return len(text)
