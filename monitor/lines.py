"""Lines on their way to a file descriptor, written by a thread, so that no one who logs waits for it.

    write -> a bounded queue -> the thread -> the descriptor

- While the queue is full, lines are dropped and counted. One in their place says how many, and since when.
- When a write fails (no space, no reader, closed), what was on its way is lost and counted; the next line is
  tried again.
- When a write fails in the middle of a line, the rest of that line goes out before anything else, so that no
  line is torn. That holds for a pipe, too: its next reader gets what the last one left in it.
- A line knows whether it was written, for those that must not lose it.
"""

import asyncio
import contextlib
import itertools
import os
import select
import threading
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime
from queue import Empty, SimpleQueue

from monitor.clock import Clock, rfc3339

MAX_LINES = 10_000
MAX_BYTES = 8 * 1024 * 1024
"""At most this much waits behind what the thread is writing."""

_LINES_AT_ONCE = 500
"""In one system call, which may stop halfway through any of them."""
_RETRY_S = 1.0
"""Between two attempts to complete a line."""


class Line:
    """A line that was written, was lost, or is still on its way."""

    __slots__ = ("_ended", "_failure", "_waiter", "begun", "rest")

    def __init__(self, text: str) -> None:
        self.rest = text.encode(errors="backslashreplace") + b"\n"
        self.begun = False
        self._ended = False
        self._failure: str | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def failure(self) -> str | None:
        """Wait until the line was written or lost; return why it was lost, None if it was written.

        Only one task may wait at a time; after it gave up, it may wait again.
        """
        self._waiter = asyncio.get_running_loop().create_future()
        # `end` sets this first and then looks for a waiter; in this order neither can miss the other.
        if not self._ended:
            await self._waiter
        return self._failure

    def end(self, failure: str | None = None) -> None:
        """Note that it was written, or why it was lost."""
        self._failure = failure
        self._ended = True
        if self._waiter is not None:
            with contextlib.suppress(RuntimeError):  # the loop was closed, and with it whoever waited
                self._waiter.get_loop().call_soon_threadsafe(_wake, self._waiter)


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


class LineWriter:
    """Writes lines to a descriptor in order, from its own thread.

    Args:
        descriptor: A pipe, file, socket or terminal; it may be closed.
        clock: Says since when lines were dropped.
        max_lines: Lines that may wait.
        max_bytes: Bytes that may wait.
        on_lost: Called, in any thread, when something could not be written.
    """

    def __init__(
        self,
        descriptor: int,
        clock: Clock,
        *,
        max_lines: int = MAX_LINES,
        max_bytes: int = MAX_BYTES,
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        self.notice: Callable[[int, datetime], str] = _notice
        """Returns the line that says how many lines were dropped, and since when."""
        self.dropped = 0
        """Lines that were not written."""
        self.failure: str | None = None
        """Why something could not be written the last time that this happened."""
        self._descriptor = descriptor
        self._clock = clock
        self._max_lines = max_lines
        self._max_bytes = max_bytes
        self._on_lost = on_lost
        # Reentrant: the garbage collector may run a finalizer that logs at any point.
        self._lock = threading.RLock()
        self._queue: deque[Line] = deque()
        self._queued_bytes = 0
        self._full = False
        self._closing = False
        self._untold = 0
        self._untold_since: datetime | None = None
        self._awake: SimpleQueue[None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, text: str) -> Line:
        """Queue a line, or drop it; never waits for the descriptor."""
        line = Line(text)
        with self._lock:
            size_bytes = self._queued_bytes + len(line.rest)
            full = len(self._queue) >= self._max_lines or size_bytes > self._max_bytes
            asleep = not (self._queue or self._full or self._closing)
            if self._closing:
                self._lose([line], "the log is closed")
            elif full or self._full:
                # Nothing more fits until the thread has taken the queue: the notice then stands behind it.
                self._full = True
                self._lose([line], "lines come faster than they are read")
            else:
                self._queue.append(line)
                self._queued_bytes = size_bytes
            if asleep:
                self._awake.put(None)
        return line

    def close(self, within_s: float) -> None:
        """Write what is queued, within so many seconds, and end; later lines are dropped."""
        with self._lock:
            self._closing = True
            self._awake.put(None)
        self._thread.join(within_s)

    def _run(self) -> None:
        lines: deque[Line] = deque()
        untold, since = 0, None
        closing = False
        while not closing:
            with contextlib.suppress(Empty):
                # A line that was begun is still the first.
                self._awake.get(timeout=_RETRY_S if lines else None)
            with self._lock:
                taken, self._queue = self._queue, deque()
                self._queued_bytes, self._full, closing = 0, False, self._closing
                untold, since = untold + self._untold, since or self._untold_since
                self._untold, self._untold_since = 0, None
            lines.extend(taken)
            failure = self._write(lines)
            if failure is not None:
                # One that was begun stays, to be completed.
                self._lose([lines.pop() for _ in range(lines[0].begun, len(lines))], failure)
            elif since is not None:
                told = Line(self.notice(untold, since))
                lines.append(told)
                if self._write(lines) is None or told.begun:
                    untold, since = 0, None
                else:
                    lines.clear()

    def _write(self, lines: deque[Line]) -> str | None:
        """Write lines and take them out; return why those that are left could not be written."""
        while lines:
            try:
                count = os.writev(
                    self._descriptor, [line.rest for line in itertools.islice(lines, _LINES_AT_ONCE)]
                )
            except BlockingIOError:
                _wait_until_writable(self._descriptor)
                continue
            except (OSError, MemoryError) as exc:
                return getattr(exc, "strerror", None) or type(exc).__name__
            while count and count >= len(lines[0].rest):
                count -= len(lines[0].rest)
                lines.popleft().end()
            if count:
                lines[0].rest, lines[0].begun = lines[0].rest[count:], True
        return None

    def _lose(self, lines: Iterable[Line], reason: str) -> None:
        with self._lock:
            self.failure = reason
            for line in lines:
                self.dropped += 1
                self._untold += 1
                self._untold_since = self._untold_since or self._clock.now()
                line.end(reason)
        if self._on_lost is not None:
            self._on_lost()


def _notice(count: int, since: datetime) -> str:
    return f"{count} lines were dropped since {rfc3339(since)}"


def _wait_until_writable(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll()
