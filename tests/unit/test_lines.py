"""Lines that a thread writes to a descriptor, whatever happens at the other end; pipes and files are real."""

import array
import asyncio
import contextlib
import fcntl
import os
import resource
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from monitor.lines import Line, LineWriter
from tests.fakes.clock import FakeClock
from tests.servers.process import wait_until

_PIPE_BYTES = 4096
"""The least that a pipe can hold."""


class Pipe:
    """A pipe that holds little, and that only `read` reads."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    @property
    def is_full(self) -> bool:
        """Whether a writer would wait."""
        held = array.array("i", [0])
        fcntl.ioctl(self.reader, termios.FIONREAD, held)
        return held[0] >= _PIPE_BYTES

    def read(self, until: str) -> list[str]:
        """Read up to the line that begins so, and return all lines."""
        text = ""
        while not any(line.startswith(until) for line in text.split("\n")[:-1]):
            text += os.read(self.reader, 65536).decode()
        return text.splitlines()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """Give a pipe; closing its reader frees a thread that still waits."""
    made = Pipe()
    yield made
    for descriptor in (made.reader, made.writer):
        os.close(descriptor)


@contextmanager
def writing(descriptor: int, **options: Any) -> Iterator[LineWriter]:
    """Give a writer that ends with the block."""
    writer = LineWriter(descriptor, FakeClock(), **options)
    writer.notice = _notice
    yield writer
    writer.close(10)


def _notice(count: int, since: datetime) -> str:
    return f"dropped {count} since {since:%H:%M:%S}"


async def _filled(pipe: Pipe, writer: LineWriter) -> Line:
    """Fill the pipe until the thread waits for its reader, and return the line it waits with."""
    line = writer.write("x" * _PIPE_BYTES)
    await wait_until(lambda: pipe.is_full, what="a full pipe")
    return line


async def test_lines_are_written_in_order(pipe: Pipe) -> None:
    """Every line comes, in the order of the calls, and says that it was written."""
    with writing(pipe.writer) as writer:
        lines = [writer.write(f"line {n}") for n in range(100)]
        assert [await line.failure() for line in lines] == [None] * 100
    assert pipe.read("line 99") == [f"line {n}" for n in range(100)]
    assert writer.dropped == 0


@pytest.mark.parametrize("limits", [{"max_lines": 3}, {"max_bytes": 5000}], ids=str)
async def test_lines_beyond_the_bound_are_dropped_and_told(pipe: Pipe, limits: dict[str, int]) -> None:
    """While nobody reads, no call waits; what does not fit is counted, and told in its place afterwards."""
    with writing(pipe.writer, **limits) as writer:
        first = await _filled(pipe, writer)
        # The last one would still fit, but must not overtake the notice about those before it.
        lines = [writer.write(f"{n}".ljust(1500, ".")) for n in range(7)] + [writer.write("7")]
        assert [await line.failure() for line in lines[3:]] == ["lines come faster than they are read"] * 5
        assert writer.dropped == 5
        read = pipe.read("dropped")
        assert [line[:30].rstrip(".") for line in read[1:]] == ["0", "1", "2", "dropped 5 since 12:00:00"]
        assert [await line.failure() for line in (first, *lines[:3])] == [None] * 4
        await writer.write("later").failure()
        assert pipe.read("later") == ["later"]
    assert writer.dropped == 5


async def test_line_that_is_too_large_costs_only_itself(pipe: Pipe) -> None:
    """A line over the bound is dropped and told, also while nothing else waits."""
    with writing(pipe.writer, max_bytes=100) as writer:
        assert await writer.write("x" * 200).failure() is not None
        assert pipe.read("dropped") == ["dropped 1 since 12:00:00"]
        assert await writer.write("small").failure() is None


async def test_lines_survive_a_descriptor_that_does_not_block(pipe: Pipe) -> None:
    """A full pipe that others made non-blocking tears no line and loses none."""
    os.set_blocking(pipe.writer, False)
    with writing(pipe.writer) as writer:
        lines = [writer.write(f"{n}".ljust(999, ".")) for n in range(50)]
        await wait_until(lambda: any(line.begun for line in lines), what="a line that was begun")
        read = pipe.read("49")
        assert [line.rstrip(".") for line in read] == [str(n) for n in range(50)]
        assert [await line.failure() for line in lines] == [None] * 50


@pytest.fixture
def fifo(pipe: Pipe, tmp_path: Path) -> Path:
    """Return a pipe with a name, which stands behind `pipe`, so that it can be read again."""
    path = tmp_path / "log"
    os.mkfifo(path)
    for mine, opened in (
        (pipe.reader, os.open(path, os.O_RDONLY | os.O_NONBLOCK)),
        (pipe.writer, os.open(path, os.O_WRONLY)),
    ):
        os.dup2(opened, mine)
        os.close(opened)
    fcntl.fcntl(pipe.writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return path


def _read_by_nobody(pipe: Pipe) -> None:
    """Leave a pipe without a reader; its own descriptor stays open, and reads nothing."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, pipe.reader)
    os.close(nothing)


def _read_again(pipe: Pipe, fifo: Path) -> None:
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    os.dup2(reader, pipe.reader)
    os.close(reader)


async def test_lines_without_a_reader_are_lost_and_told_to_the_next(pipe: Pipe, fifo: Path) -> None:
    """Once the reader is gone, each line knows that it was lost; the next reader is told how many were."""
    with writing(pipe.writer) as writer:
        _read_by_nobody(pipe)
        lost = [writer.write("one"), writer.write("two")]
        assert [await line.failure() for line in lost] == ["Broken pipe"] * 2
        _read_again(pipe, fifo)
        assert await writer.write("three").failure() is None
        assert pipe.read("dropped") == ["three", "dropped 2 since 12:00:00"]
    assert writer.dropped == 2


async def test_line_that_waits_when_its_reader_dies_is_whole_for_the_next(pipe: Pipe, fifo: Path) -> None:
    """What a dead reader left in a pipe begins with the line that the thread then completes."""
    with writing(pipe.writer) as writer:
        cut = await _filled(pipe, writer)
        _read_by_nobody(pipe)
        assert await writer.write("lost").failure() == "Broken pipe"
        _read_again(pipe, fifo)
        assert pipe.read("dropped") == ["x" * _PIPE_BYTES, "dropped 1 since 12:00:00"]
        assert await cut.failure() is None


async def test_line_cut_short_by_a_full_disk_is_completed(tmp_path: Path) -> None:
    """What a write left half done goes out first once there is space; lines that found none are told."""
    file = tmp_path / "log"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with writing(descriptor) as writer:
        assert await writer.write("whole").failure() is None
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
        try:
            cut = writer.write("cut short")
            await wait_until(lambda: cut.begun, what="a line that was begun")
            assert await writer.write("lost").failure() == "File too large"
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert await cut.failure() is None
        assert await writer.write("later").failure() is None
    os.close(descriptor)
    assert file.read_text().splitlines() == ["whole", "cut short", "dropped 1 since 12:00:00", "later"]


def _closed() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    return writer


@pytest.mark.parametrize(
    ("opened", "reason"),
    [
        pytest.param(lambda: os.open("/dev/full", os.O_WRONLY), "No space left on device", id="full"),
        pytest.param(lambda: os.open(os.devnull, os.O_RDONLY), "Bad file descriptor", id="read-only"),
        pytest.param(_closed, "Bad file descriptor", id="closed"),
    ],
)
async def test_lines_that_cannot_be_written_say_why(opened: Callable[[], int], reason: str) -> None:
    """Each is counted, and none is taken for written."""
    descriptor = opened()
    with writing(descriptor) as writer:
        assert [await writer.write(f"{n}").failure() for n in range(3)] == [reason] * 3
    assert writer.dropped == 3
    with contextlib.suppress(OSError):
        os.close(descriptor)


async def test_close_gives_up_when_nobody_reads(pipe: Pipe) -> None:
    """The end of the writer waits no longer than it may, and what comes after it is dropped."""
    with writing(pipe.writer) as writer:
        line = await _filled(pipe, writer)
        writer.close(0.01)
        assert await writer.write("after").failure() == "the log is closed"
        assert pipe.read("dropped")[1:] == ["dropped 1 since 12:00:00"]
        assert await line.failure() is None


async def test_line_can_be_waited_for_again(pipe: Pipe) -> None:
    """Whoever gave up waiting for a line learns later that it was written."""
    with writing(pipe.writer) as writer:
        line = await _filled(pipe, writer)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await line.failure()
        assert len(pipe.read("x")) == 1
        assert await line.failure() is None
