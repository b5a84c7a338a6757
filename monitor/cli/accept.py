"""`accept`: removed and reconfigured numbers are right as they are now."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from monitor.cli.options import FormatOption
from monitor.cli.shell import Shell, config_of, shell_of, store_of
from monitor.cli.targets import unknown_connection
from monitor.cli.terminal import Format
from monitor.clock import SystemClock
from monitor.errors import StartError
from monitor.store.codec import Codec
from monitor.store.connections import watched
from monitor.store.database import Database
from monitor.store.requests import Acceptable, acceptable, owner_named
from monitor.store.requests import accept as ask_to_accept


class NothingAccepted(Exception):  # noqa: N818 - named for what happened
    """Some of it cannot be accepted; `left` could be."""

    def __init__(self, why: str, left: Sequence[Acceptable]) -> None:
        super().__init__(why)
        self.left = left


def accept(
    ctx: typer.Context,
    connection: Annotated[str, typer.Argument(help="Its name.")],
    numbers: Annotated[
        list[str] | None, typer.Argument(metavar="NUMBER", help="In any form; all of them without.")
    ] = None,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the name of the option
) -> None:
    """Accept removed and reconfigured numbers of a connection as they are now.

    Their alerts end with the resolution `accepted`. A drifting number cannot be accepted: mend it, or write
    an [[ignore]] rule. The daemon takes it over within a second, or at its next start.
    """
    shell = shell_of(ctx)
    try:
        taken = asyncio.run(_accept(shell, connection, numbers or []))
    except NothingAccepted as exc:
        shell.terminal.error(str(exc))
        for row in exc.left:
            shell.terminal.note(f"could be accepted: {row.phone_number} ({row.kind})")
        raise typer.Exit(2) from None
    if format is Format.JSON:
        shell.terminal.json(taken)
    else:
        for row in taken:
            shell.terminal.line(f"accepted: {row.phone_number} ({row.kind})")
    shell.terminal.note("the daemon takes it over within a second, or at its next start")


async def _accept(shell: Shell, connection: str, numbers: Sequence[str]) -> list[Acceptable]:
    async with store_of(config_of(shell)) as database:
        identity, found = await _found(database, connection)
        chosen = _chosen(connection, numbers, found)
        async with database.write() as tx:
            keys = {row.key for row in chosen} if numbers else None
            await ask_to_accept(tx, identity, keys, SystemClock().now())
    return chosen


async def _found(database: Database, connection: str) -> tuple[str, list[Acceptable]]:
    codec = Codec()
    async with database.read() as tx:
        owner = await owner_named(tx, connection)
        if owner is None:
            names = [standing.name for standing in await watched(tx, codec)]
            raise StartError(unknown_connection(connection, names))
        return owner.identity, await acceptable(tx, owner.identity, codec)


def _chosen(connection: str, numbers: Sequence[str], found: list[Acceptable]) -> list[Acceptable]:
    """Return what was asked for.

    Raises:
        Refused: Some of it is not there.
    """
    if not found:
        raise NothingAccepted(
            f"{connection}: nothing to accept: no number is known as removed or reconfigured", ()
        )
    wanted = {_digits(number) for number in numbers}
    unknown = len(wanted - {row.key for row in found})
    if unknown:
        one = "one of these numbers was" if unknown == 1 else f"{unknown} of these numbers were"
        raise NothingAccepted(f"{connection}: {one} neither removed nor reconfigured", found)
    return [row for row in found if not wanted or row.key in wanted]


def _digits(number: str) -> str:
    return "".join(each for each in number if each.isascii() and each.isdigit())
