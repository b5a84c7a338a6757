"""`accept`: removed and reconfigured numbers are right as they are now."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.cli.shell import FormatOption, Shell, config_of, shell_of, store_of, this_user
from monitor.cli.terminal import Format
from monitor.clock import SystemClock
from monitor.errors import StartError, UnknownName, unknown_name
from monitor.store.actions import Action, accepted, add_action
from monitor.store.codec import Codec
from monitor.store.connections import watched
from monitor.store.requests import Acceptable, acceptable, chosen, owner_named
from monitor.store.requests import accept as ask_to_accept


def accept(
    ctx: typer.Context,
    connection: Annotated[str, typer.Argument(help="Name of the connection.")],
    numbers: Annotated[
        list[str] | None,
        typer.Argument(metavar="NUMBER", help="Phone numbers in any form; default: all acceptable ones."),
    ] = None,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the name of the option
) -> None:
    """Accept removed and reconfigured numbers of a connection as they are now.

    Their alerts end with the resolution `accepted`. A drifting number cannot be accepted: fix it, or
    silence it. The daemon acts within a second, or when it next starts.

    Exit codes:
      0  accepted
      2  there is nothing to accept, or no store yet

    Examples:
      voicelink-monitor accept acme-sales
      voicelink-monitor accept acme-sales +918011223344 '+91 80 1122 3345'
    """
    shell = shell_of(ctx)
    taken = asyncio.run(_accept(shell, connection, numbers or None))
    if format is Format.JSON:
        shell.terminal.json(taken)
    else:
        for row in taken:
            shell.terminal.line(f"accepted: {row.phone_number} ({row.kind})")
    shell.terminal.note("the daemon acts on this within a second, or when it next starts")


async def _accept(shell: Shell, connection: str, numbers: Sequence[str] | None) -> list[Acceptable]:
    codec, now = Codec(), SystemClock().now()
    async with store_of(config_of(shell)) as database:
        async with database.read() as tx:
            owner = await owner_named(tx, connection)
            if owner is None:
                names = [standing.name for standing in await watched(tx, codec)]
                raise StartError(unknown_name("connection", connection, names))
            found = await acceptable(tx, owner.identity, codec)
        if not found:
            raise UnknownName(f"{connection}: no removed or reconfigured numbers to accept")
        try:
            taken = chosen(found, numbers)
        except UnknownName as exc:
            shell.terminal.error(f"{connection}: {exc}")
            for row in found:
                shell.terminal.note(f"could be accepted: {row.phone_number} ({row.kind})")
            raise typer.Exit(2) from None

        async def write(tx: AsyncConnection) -> None:
            keys = {row.key for row in taken} if numbers else None
            await ask_to_accept(tx, owner.identity, keys, now)
            named = [row.phone_number for row in taken] if numbers else None
            did = this_user().did(Action.ACCEPT, accepted(connection, named))
            await add_action(tx, did, now, logged=False)

        await database.transact(write)
    return taken
