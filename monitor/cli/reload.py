"""`reload`: a daemon reloads its config, and says how that went."""

import errno
import os
import signal
import socket
import struct
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from monitor.cli.catalog import PROGRAM
from monitor.cli.shell import FormatOption, shell_of
from monitor.cli.terminal import Format
from monitor.clock import SystemClock
from monitor.daemon.service import Reloaded, result_address
from monitor.errors import Refused

_WAIT_S = 60.0
_CREDENTIALS = struct.Struct("3i")
"""Process, user and group, which the kernel puts on a message. Source: unix(7)."""


def reload(
    ctx: typer.Context,
    pid: Annotated[int, typer.Argument(metavar="PID", min=1, help="The daemon's process id.")],
    format: FormatOption = Format.TABLE,  # noqa: A002 - the name of the option
) -> None:
    """Make a running daemon reload its config, and wait for the result.

    It sends SIGHUP to the process and hears from the daemon itself what became of it, which only works on
    the same machine, or in the same container, where the process is mostly number 1. Linux only.

    Exit codes:
      0  the new config is active
      2  the config was refused and the old one stays; or there is no such daemon

    Examples:
      voicelink-monitor reload 1
    """
    clock = SystemClock()
    if not _runs_daemon(pid):
        raise Refused(f"process {pid} is no `{PROGRAM} run`, so it was not signalled")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            sock.bind(result_address(pid))
        except OSError as exc:
            raise Refused(f"cannot wait for process {pid}: {exc.strerror}; is it reloading already?") from exc
        asked_s = clock.monotonic()
        try:
            os.kill(pid, signal.SIGHUP)
        except OSError as exc:
            raise Refused(f"cannot signal process {pid}: {exc.strerror}") from exc
        while (left_s := asked_s + _WAIT_S - clock.monotonic()) > 0:
            result = _received(sock, pid, left_s)
            # One that began earlier may not have read what is in the file now.
            if result is None or result.began_s < asked_s:
                continue
            if result.error is not None:
                raise Refused(f"the config was refused, the previous one stays: {result.error}")
            terminal = shell_of(ctx).terminal
            if format is Format.JSON:
                terminal.json({"reloaded": True, "pid": pid})
            else:
                terminal.line("reloaded")
            return
    raise Refused(f"process {pid} did not say within {_WAIT_S:g} s whether it has reloaded: see its log")


def _runs_daemon(pid: int) -> bool:
    """Return whether a process may be a daemon; most others would be ended by the signal."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError as exc:
        raise Refused(f"cannot signal process {pid}: {os.strerror(errno.ESRCH)}") from exc
    return b"run" in arguments


def _received(sock: socket.socket, pid: int, within_s: float) -> Reloaded | None:
    """Return a result, None if none has come from this process."""
    sock.settimeout(within_s)
    try:
        message, ancillary, _, _ = sock.recvmsg(1 << 20, socket.CMSG_SPACE(_CREDENTIALS.size))
    except TimeoutError:
        return None
    senders = [_CREDENTIALS.unpack(data[: _CREDENTIALS.size])[0] for _, _, data in ancillary]
    return msgspec.json.decode(message, type=Reloaded) if senders == [pid] else None
