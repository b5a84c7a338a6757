"""The standard streams, on real descriptors."""

import io
import os
import threading
from collections.abc import Callable, Iterator
from typing import TextIO

import pytest

from monitor.cli.streams import OutputFailed, give_up, queued, standard_error, standard_output

_GIVEN = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
"""What Python made of a stream that was open."""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Give both ends of a pipe."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def test_output_waits_for_a_pipe_that_others_made_non_blocking(pipe: tuple[int, int]) -> None:
    """Everything comes, though a write finds the pipe full."""
    reading, writing = pipe
    os.set_blocking(writing, False)
    size = 1_000_000
    read = bytearray()

    def collect() -> None:
        while len(read) < size:
            read.extend(os.read(reading, 65536))

    reader = threading.Thread(target=collect)
    reader.start()
    stream = standard_output(_GIVEN, writing)
    stream.write("x" * size)
    stream.flush()
    reader.join(30)
    assert len(read) == size


def _unread() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize(
    ("opened", "reason", "reader_gone"),
    [
        pytest.param(lambda: os.open("/dev/full", os.O_WRONLY), "No space left on device", False, id="full"),
        pytest.param(_unread, "Broken pipe", True, id="gone"),
    ],
)
def test_output_fails_once_and_is_quiet_afterwards(
    opened: Callable[[], int], reason: str, reader_gone: bool
) -> None:
    """What could not be written is told where it is written; the flush at exit fails no more."""
    descriptor = opened()
    stream = standard_output(_GIVEN, descriptor)
    stream.write("x")
    with pytest.raises(OutputFailed, match=reason) as failed:
        stream.flush()
    assert failed.value.reader_gone is reader_gone
    stream.write("y")
    stream.flush()
    os.close(descriptor)


@pytest.mark.parametrize("make", [standard_output, standard_error])
def test_closed_stream_takes_everything(make: Callable[[TextIO | None, int], TextIO]) -> None:
    """A stream that was closed when the program began is no reason to fail."""
    descriptor = os.open(os.devnull, os.O_RDONLY)
    stream = make(None, descriptor)
    stream.write("x" * 100_000)
    stream.flush()
    os.close(descriptor)


def test_error_stream_never_fails() -> None:
    """A message that finds no space is lost, and nothing else."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    stream = standard_error(_GIVEN, descriptor)
    stream.write("one\n")
    stream.write("two\n")
    stream.flush()
    os.close(descriptor)


def test_output_that_was_given_up_is_not_written(pipe: tuple[int, int]) -> None:
    """What an interrupted command left does not come out at exit."""
    reading, writing = pipe
    stream = standard_output(_GIVEN, writing)
    stream.write("x")
    give_up(stream)
    stream.flush()
    os.set_blocking(reading, False)
    with pytest.raises(BlockingIOError):
        os.read(reading, 10)


def test_queued_output_writes_whole_lines_and_tells_what_it_could_not(pipe: tuple[int, int]) -> None:
    """Pieces become lines, in order; without a reader it says so at the end, and before."""
    reading, writing = pipe
    lost: list[None] = []
    stream = standard_output(_GIVEN, writing)
    with queued(stream, lambda: lost.append(None)) as queue:
        for piece in ("o", "ne\ntw", "o\n"):
            queue.write(piece)
    assert os.read(reading, 100) == b"one\ntwo\n"
    assert not lost
    descriptor = _unread()
    stream = standard_output(_GIVEN, descriptor)
    with pytest.raises(OutputFailed, match="Broken pipe"), queued(stream, lambda: lost.append(None)) as queue:
        queue.write("three\n")
    assert lost
    os.close(descriptor)
