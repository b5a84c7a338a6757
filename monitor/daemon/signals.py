"""The signals that end or reload the daemon, whatever the rest of the process is waiting for.

A thread of their own waits for them, and all other threads have them blocked: a name that takes long to
resolve, a disk that hangs or a loop that does not turn holds up none of them. Blocked signals also reach the
first process of a container, to which the kernel passes no signal that it neither handles nor blocks.

    SIGTERM, SIGINT -> not in service yet: the end of the process
                    -> in service: a stop in good order, and the end of the process when that is overdue
    SIGHUP          -> a reload of what is in service, or of what will be

Source: https://man7.org/linux/man-pages/man7/pid_namespaces.7.html (the init process and signals).
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

TAKEN = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})

STOP_S = 8.0
"""After so long a stop is overdue: engines of containers kill what has not ended after ten seconds."""
_THREADS_END_S = 1.0
"""How long the end of the process may wait for threads, once the daemon has stopped."""


def hold_back() -> None:
    """Keep these signals pending until a `Signals` takes them, or `let_through`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, TAKEN)


def let_through() -> None:
    """Let these signals do what they do by default, those that are pending too."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TAKEN)


class Signals:
    """Hands signals to the daemon, and ends the process when that does not end in time.

    Nothing is lost by the latter: what is not committed is as if it had never begun.

    Args:
        stop_s: After so long a stop is overdue.
        leave: Ends the process at once, with an exit code.
    """

    def __init__(self, *, stop_s: float = STOP_S, leave: Callable[[int], object] = os._exit) -> None:
        self._stop_s = stop_s
        self._leave = leave
        self._lock = threading.Lock()
        self._stop: Callable[[], None] | None = None
        self._reload: Callable[[], None] | None = None
        self._overdue: Callable[[], None] | None = None
        self._stopping = self._reload_wanted = False

    def listen(self) -> None:
        """Wait for signals from now on; call it in the main thread, before there are others."""
        hold_back()
        threading.Thread(target=self._run, name="signals", daemon=True).start()

    def received(self, number: int) -> None:
        """Do what a signal asks for; a second one that asks to stop changes nothing."""
        with self._lock:
            if number == signal.SIGHUP:
                self._reload_wanted = self._reload is None
                if self._reload is not None:
                    self._reload()
            elif not self._stopping:
                self._stopping = True
                if self._stop is None:
                    self._leave(0)
                else:
                    self._stop()
                    self._later(self._stop_s)

    @contextlib.contextmanager
    def serving(
        self, *, stop: Callable[[], None], reload: Callable[[], None], overdue: Callable[[], None]
    ) -> Iterator[None]:
        """Hand signals to the daemon while the block runs; all three are called in other threads.

        Args:
            stop: Begins to stop it.
            reload: Reloads it.
            overdue: Called before an overdue stop ends the process.
        """
        with self._lock:
            self._stop, self._reload, self._overdue = stop, reload, overdue
            if self._reload_wanted:
                reload()
        try:
            yield
        finally:
            with self._lock:
                self._stop = self._reload = self._overdue = None
                if self._stopping:
                    self._later(_THREADS_END_S)

    def leave(self) -> None:
        """End the process at once: what has not ended by now would only complain that it is cancelled."""
        self._leave(0)

    def _run(self) -> None:
        while True:
            self.received(signal.sigwait(TAKEN))

    def _later(self, seconds: float) -> None:
        timer = threading.Timer(seconds, self._end)
        timer.daemon = True
        timer.start()

    def _end(self) -> None:
        overdue = self._overdue
        if overdue is not None:
            overdue()
        self._leave(0)
