"""What signals do to a daemon in each stage of its life; the real ones are in the acceptance tests."""

import signal
import threading
from contextlib import AbstractContextManager

import pytest

from monitor.daemon.signals import Signals

STOPS = [signal.SIGTERM, signal.SIGINT]
_NEVER_S = 3600.0


class Heard:
    """Notes what is called, in order; threads may call it."""

    def __init__(self, *, stop_s: float = _NEVER_S) -> None:
        self.calls: list[str] = []
        self.left = threading.Event()
        self.signals = Signals(stop_s=stop_s, leave=self._leave)

    def _leave(self, code: int) -> None:
        self.calls.append(f"leave {code}")
        self.left.set()

    def note(self, name: str) -> None:
        """Note a call."""
        self.calls.append(name)


def serving(heard: Heard) -> AbstractContextManager[None]:
    """Put what notes all calls in service."""
    return heard.signals.serving(
        stop=lambda: heard.note("stop"),
        reload=lambda: heard.note("reload"),
        overdue=lambda: heard.note("overdue"),
    )


@pytest.mark.parametrize("number", STOPS, ids=lambda number: number.name)
def test_stop_before_anything_is_in_service_ends_the_process(number: signal.Signals) -> None:
    """Nothing has begun that could be lost."""
    heard = Heard()
    heard.signals.received(number)
    assert heard.calls == ["leave 0"]


@pytest.mark.parametrize("number", STOPS, ids=lambda number: number.name)
def test_second_stop_changes_nothing(number: signal.Signals) -> None:
    """Supervisors and terminals may send the same signal twice: the stop in good order goes on."""
    heard = Heard()
    with serving(heard):
        heard.signals.received(number)
        heard.signals.received(signal.SIGTERM)
    assert heard.calls == ["stop"]


def test_overdue_stop_ends_the_process() -> None:
    """It says so first, and the exit code is that of a stop."""
    heard = Heard(stop_s=0.0)
    with serving(heard):
        heard.signals.received(signal.SIGTERM)
        assert heard.left.wait(60)
    assert heard.calls == ["stop", "overdue", "leave 0"]


def test_reload_before_the_daemon_is_in_service_follows() -> None:
    """It is not lost, and several are one."""
    heard = Heard()
    for _ in range(2):
        heard.signals.received(signal.SIGHUP)
    with serving(heard):
        assert heard.calls == ["reload"]
        heard.signals.received(signal.SIGHUP)
    assert heard.calls == ["reload", "reload"]
