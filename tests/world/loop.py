"""An event loop on virtual time, in one thread.

Time moves only when nothing is ready to run, and then straight to the next timer. Work for a thread runs
here, as a callback of its own, so that a seed always gives the same world. To kill a process is to stop
running its loop: nothing is cleaned up.
"""

import asyncio
import contextlib
import gc
import heapq
import math
import sys
import warnings
from asyncio import base_events
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from typing import Any, TypeVar

from greenlet import GreenletExit, greenlet

Result = TypeVar("Result")

MOST_STEPS = 200_000
"""A process that takes more steps than this without any time passing goes in circles."""

_CLEAN_UPS = 20
"""So often may dead work wait for more while it cleans up."""


class Stuck(AssertionError):  # noqa: N818 - named for what happened
    """The process spins, or waits for what will never come."""


class Elapsed:
    """The seconds since the world began; they pass for everybody."""

    def __init__(self) -> None:
        self.s = 0.0


class VirtualLoop(base_events.BaseEventLoop):
    """Runs one process.

    Args:
        elapsed: The world's time, which this loop moves on.
    """

    # What the base class keeps, and its types do not tell.
    _ready: "deque[asyncio.Handle]"
    _scheduled: list[Any]
    _timer_cancelled_count: int

    def __init__(self, elapsed: Elapsed) -> None:
        super().__init__()
        self._elapsed = elapsed
        self._until = 0.0
        self._steps_left: int | None = None
        self._steps_here = 0
        self.failures: list[str] = []
        self.clock: Any = None
        """The wall clock of its process."""
        self.set_exception_handler(lambda _, context: self.failures.append(_told(context)))

    def time(self) -> float:
        """Return the world's time."""
        return self._elapsed.s

    def run_to(self, until_s: float) -> bool:
        """Let the process live until an instant; return False if the steps that were left to it ran out."""
        if self._steps_left == 0:
            return False
        self._until = until_s
        self.run_forever()
        if self._steps_left == 0:
            return False
        self._elapsed.s = max(self._elapsed.s, until_s)
        return True

    @property
    def next_at_s(self) -> float:
        """When it has something to do next; never: infinity."""
        return self._scheduled[0]._when if self._scheduled else math.inf

    def end_after(self, steps: int) -> None:
        """Let the process take so many more steps only, wherever that leaves it."""
        left = self._steps_left
        self._steps_left = max(steps, 1) if left is None else min(left, max(steps, 1))

    def do(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine to its end, and whatever becomes ready meanwhile; time does not pass."""
        task = self.create_task(work)
        self._until = self._elapsed.s
        task.add_done_callback(lambda _: self.stop())
        self.run_forever()
        if not task.done():
            task.cancel()
            raise Stuck(f"{work!r} waits for time to pass")
        return task.result()

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Result], *args: Any
    ) -> "asyncio.Future[Result]":
        """Run what would go to a thread, as the next thing but those that are ready."""
        future: asyncio.Future[Result] = self.create_future()
        self.call_soon(_carry_out, future, func, *args)
        return future

    def _run_once(self) -> None:
        self._take_due()
        if not self._ready:
            self._steps_here = 0
            due_at = self._scheduled[0]._when if self._scheduled else None
            if due_at is None or due_at > self._until:
                self._stopping = True
                return
            self._elapsed.s = max(self._elapsed.s, due_at)
            self._take_due()
        handle = self._ready.popleft()
        if handle._cancelled:
            return
        self._steps_here += 1
        if self._steps_here > MOST_STEPS:
            raise Stuck(f"the process goes in circles: {handle!r}")
        handle._run()
        if self._steps_left is not None:
            self._steps_left -= 1
            if self._steps_left <= 0:
                self._steps_left = 0
                self._stopping = True

    def _take_due(self) -> None:
        while self._scheduled and (
            self._scheduled[0]._cancelled or self._scheduled[0]._when <= self._elapsed.s
        ):
            handle = heapq.heappop(self._scheduled)
            handle._scheduled = False
            if handle._cancelled:
                self._timer_cancelled_count -= 1
            else:
                self._ready.append(handle)

    def _write_to_self(self) -> None:
        """Wake nobody: there is one thread."""

    def _process_events(self, event_list: Any) -> None:
        """Do nothing: there are no sockets."""


def bury(loops: list[VirtualLoop]) -> None:
    """Free what killed processes held, without a trace: their clean-up must have no effect any more."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _grave():
                while loops:
                    _end_tasks(loops.pop())
                _end_greenlets()
                gc.collect()
            gc.collect()
    finally:
        sys.unraisablehook = hook


@contextlib.contextmanager
def _grave() -> Iterator[None]:
    """Have what the dead begin while they clean up wait here, not in the loop of whoever comes next."""
    loop = VirtualLoop(Elapsed())
    asyncio._set_running_loop(loop)
    try:
        yield
        _end_tasks(loop)
    finally:
        asyncio._set_running_loop(None)


def _end_tasks(loop: VirtualLoop) -> None:
    """End what is left of a process, and what that leaves in its turn."""
    ended: set[asyncio.Task[Any]] = set()
    while left := asyncio.all_tasks(loop) - ended:
        for task in left:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            _end(task.get_coro())
        ended |= left
    loop._ready.clear()
    loop._scheduled.clear()
    loop.close()


def _end(coroutine: Any) -> None:
    for _ in range(_CLEAN_UPS):
        try:
            coroutine.close()
        except RuntimeError:
            continue  # it waits for something in its clean-up
        except BaseException:  # noqa: BLE001 - whatever it says, it is over
            return
        return


def _end_greenlets() -> None:
    """End the greenlets that SQLAlchemy's work was suspended in: the garbage collector cannot."""
    greenlets = [each for each in gc.get_objects() if isinstance(each, greenlet)]
    for suspended in [each for each in greenlets if type(each).__module__.startswith("sqlalchemy")]:
        for _ in range(_CLEAN_UPS):
            if suspended.dead or suspended.gr_frame is None:
                break
            with contextlib.suppress(BaseException):
                suspended.throw(GreenletExit())


def _carry_out(future: "asyncio.Future[Any]", func: Callable[..., Any], *args: Any) -> None:
    if future.cancelled():
        return
    try:
        result = func(*args)
    except BaseException as exc:  # noqa: BLE001 - whoever waits for it gets it
        future.set_exception(exc)
    else:
        future.set_result(result)


def _told(context: dict[str, Any]) -> str:
    exc = context.get("exception")
    return f"{context.get('message')}: {exc!r}"
