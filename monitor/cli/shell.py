"""What every command gets: where it writes, and what the global options said."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import typer

from monitor.cli.terminal import Terminal
from monitor.config import Config, find_config_file, load_config
from monitor.store.database import Database


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


def config_of(shell: Shell) -> Config:
    """Return the config; say on standard error what is questionable in it.

    Raises:
        ConfigError: It cannot be used.
    """
    config = reread(shell)
    for warning in config.warnings:
        shell.terminal.warning(warning)
    return config


def reread(shell: Shell) -> Config:
    """Return the config as it is now.

    Raises:
        ConfigError: It cannot be used.
    """
    return load_config(shell.config_file or find_config_file())


@asynccontextmanager
async def store_of(config: Config) -> AsyncIterator[Database]:
    """Open the store that the daemon made.

    Raises:
        StartError: There is none, or it is of another version.
    """
    async with Database(config.store.secret.reveal()) as database:
        await database.check()
        yield database
