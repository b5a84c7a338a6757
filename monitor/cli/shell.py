"""What every command gets: where it writes, and what the global options said."""

from dataclasses import dataclass
from pathlib import Path

import typer

from monitor.cli.terminal import Terminal


@dataclass(slots=True, kw_only=True)
class Shell:
    """The surroundings of one command. `config_file` is None unless one was named."""

    terminal: Terminal
    config_file: Path | None = None
    debug: bool = False


def shell_of(ctx: typer.Context) -> Shell:
    """Return the shell of a command's context."""
    shell = ctx.find_root().obj
    if not isinstance(shell, Shell):
        raise TypeError("commands run from `main` alone")
    return shell
