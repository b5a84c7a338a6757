"""From arguments to an exit code: every error a user can cause is a line, a bug is one line too."""

import io
import sys
from collections.abc import Callable, Sequence
from typing import TextIO

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from monitor.cli.catalog import PROGRAM
from monitor.cli.group import build_group
from monitor.cli.shell import Shell
from monitor.cli.terminal import Terminal
from monitor.errors import MonitorError

USAGE = 2
INTERRUPTED = 130
BUG = 70
"""EX_SOFTWARE of sysexits.h."""


def main() -> None:
    """Run the command that the arguments name, and leave with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that lacks a letter is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:], sys.stdout, sys.stderr))


def run(
    arguments: Sequence[str],
    out: TextIO,
    err: TextIO,
    build: Callable[[], TyperGroup] = build_group,
) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: Without the program's name.
        out: Gets the data.
        err: Gets everything else.
        build: Makes the command line.
    """
    shell = Shell(terminal=Terminal(out, err))
    try:
        return _invoke(build(), arguments, shell)
    except MonitorError as exc:
        shell.terminal.error(str(exc))
        return USAGE
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as exc:  # noqa: BLE001 - the root of everything: a bug must be told, without its data
        _tell_bug(shell, exc)
        return BUG


def _invoke(group: TyperGroup, arguments: Sequence[str], shell: Shell) -> int:
    if not arguments:
        _invoke(group, ["--help"], shell)
        return USAGE
    try:
        code = group.main(list(arguments), prog_name=PROGRAM, standalone_mode=False, obj=shell)
    except TyperException as exc:
        context = getattr(exc, "ctx", None)
        shell.terminal.error(exc.format_message())
        shell.terminal.note(f"try: {context.command_path if context else PROGRAM} --help")
        return exc.exit_code
    return code if isinstance(code, int) else 0


def _tell_bug(shell: Shell, exc: Exception) -> None:
    if shell.debug:
        shell.terminal.debug()
    hint = "" if shell.debug else f"; `{PROGRAM} --debug …` shows where"
    shell.terminal.error(f"this is a bug in {PROGRAM}, please report it ({type(exc).__name__}{hint})")
