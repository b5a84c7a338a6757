"""What the daemon tells its service manager, and whoever asked it to reload.

systemd: one datagram for each change, to the socket that NOTIFY_SOCKET names.

    starting        EXTEND_TIMEOUT_USEC every second, so that a long migration is no failed start
    ready at last   READY
    a reload        RELOADING, then READY, whether or not the config was refused
    at work         WATCHDOG, unless the schedule stands still by the daemon's own fault
    stopping        STOPPING

`systemctl reload` fails when its command does. So whoever sends SIGHUP may wait for the result, at an address
that follows from the process id; if no one does, it goes nowhere. See `voicelink-monitor reload`.

Source: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

import contextlib
import os
import socket
from collections.abc import Mapping
from typing import Protocol

import msgspec

from monitor.clock import Clock

_TURN_S = 1.0
_EXTEND_S = 30.0
_SEND_S = 0.2


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """How a reload went. `began_s` is on the machine's monotonic clock; `error` says why it was refused."""

    began_s: float
    error: str | None


class Working(Protocol):
    """Knows whether the daemon is doing its work, and if not, whether a restart would help."""

    def not_ready(self) -> str | None:
        """Return why it is not."""
        ...

    def stuck(self) -> str | None:
        """Return what stands still by its own fault."""
        ...


def result_address(pid: int) -> str:
    """Return where a daemon sends the results of its reloads: a name in Linux' abstract namespace."""
    return f"\0voicelink-monitor/reload/{pid}"


class ServiceManager:
    """Tells systemd how the daemon is, if that has started it.

    Args:
        environ: Names the socket, and how often the watchdog wants to hear.
        clock: The machine's.
    """

    def __init__(self, environ: Mapping[str, str], clock: Clock) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watchdog = environ.get("WATCHDOG_USEC", "")
        self._watchdog_s = int(watchdog) / 1e6 if mine and watchdog.isdecimal() else None
        self._clock = clock
        self._ready = False
        self._refused = ""
        self._status = ""

    @property
    def listens(self) -> bool:
        """Whether there is one to tell."""
        return bool(self._address)

    async def watch(self, work: Working) -> None:
        """Say how the daemon is, until cancelled; that it does so says that its loop turns."""
        turn_s = min(_TURN_S, (self._watchdog_s or _TURN_S) / 4)
        while True:
            reason, told = work.not_ready(), []
            self._ready = self._ready or (reason is None and self._tell("READY=1"))
            if not self._ready:
                told.append(f"EXTEND_TIMEOUT_USEC={_EXTEND_S * 1e6:.0f}")
            if self._watchdog_s is not None and work.stuck() is None:
                told.append("WATCHDOG=1")
            status = reason or self._refused or "ready"
            if status != self._status:
                told.append(f"STATUS={status}")
            if told and self._tell(*told):
                self._status = status
            await self._clock.sleep(turn_s)

    def reloading(self) -> float:
        """Say that a reload begins; return when."""
        began_s = self._clock.monotonic()
        self._tell("RELOADING=1", f"MONOTONIC_USEC={began_s * 1e6:.0f}")
        return began_s

    def reloaded(self, began_s: float, error: str | None) -> None:
        """Say how a reload went: the daemon goes on in any case."""
        self._refused = "" if error is None else f"the config was refused, the previous one stays: {error}"
        self._tell("READY=1")
        _send(result_address(os.getpid()), msgspec.json.encode(Reloaded(began_s=began_s, error=error)))

    def stopping(self) -> None:
        """Say that the daemon stops."""
        self._tell("STOPPING=1")

    def _tell(self, *fields: str) -> bool:
        lines = [field.replace("\n", "; ") for field in fields]
        return self.listens and _send(self._address, "\n".join(lines).encode())


def _send(address: str, message: bytes) -> bool:
    """Send a datagram; return whether it has found room, for which nothing waits long."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(_SEND_S)
        sock.sendto(message, address)
        return True
    return False
