"""What most commands begin with: the config, and the store it names."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from monitor.cli.shell import Shell
from monitor.config import Config, find_config_file, load_config
from monitor.store.database import Database


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
