"""`ack`: someone sees to a firing alert."""

import asyncio
from datetime import datetime
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.cli.shell import FormatOption, Shell, config_of, shell_of, store_of, this_user
from monitor.cli.terminal import Format, instant
from monitor.clock import SystemClock
from monitor.errors import Refused, UnknownName
from monitor.store.actions import Action, add_action
from monitor.store.requests import MAX_BY, MAX_NOTE, Acknowledged, acknowledge

NOT_FIRING = 1


def ack(
    ctx: typer.Context,
    alert: Annotated[
        str,
        typer.Argument(metavar="ALERT", help="The alert's id, or the beginning of it, as `alerts` shows it."),
    ],
    note: Annotated[
        str | None, typer.Option("--note", metavar="TEXT", help="What to tell the others.")
    ] = None,
    by: Annotated[
        str | None, typer.Option("--by", metavar="NAME", help="Who sees to it; default: your login name.")
    ] = None,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the name of the option
) -> None:
    """Acknowledge a firing alert: you see to it, and it reminds no one any more.

    Receivers that know of the alert are told once, with your note. It still tells what changes and how it
    ends. The acknowledgement ends when the severity rises. Of a part of a widespread alert, that one is
    acknowledged.

    Exit codes:
      0  acknowledged, now or before: then it says by whom
      1  no such alert is firing
      2  the config cannot be used, or there is no store yet

    Examples:
      voicelink-monitor ack 5f0c2b7a
      voicelink-monitor ack 5f0c2b7a --note 'rolling back the bot' --by asha
    """
    shell = shell_of(ctx)
    for option, text, most in (("--note", note, MAX_NOTE), ("--by", by, MAX_BY)):
        if text is not None and len(text) > most:
            raise typer.BadParameter(f"must be at most {most} characters", param_hint=option)
    try:
        done = asyncio.run(_acknowledge(shell, alert, note, by))
    except (UnknownName, Refused) as exc:
        shell.terminal.error(f"{alert}: {exc}" if isinstance(exc, UnknownName) else str(exc))
        raise typer.Exit(NOT_FIRING) from None
    if format is Format.JSON:
        shell.terminal.json(done)
    elif done.already:
        known = done.acknowledged
        since = instant(datetime.fromisoformat(known.at))
        note = f": {known.note}" if known.note else ""
        shell.terminal.line(f"already acknowledged by {known.by or 'a user'} since {since}{note}")
    else:
        shell.terminal.line(f"acknowledged: {done.summary} ({done.alert_id})")
    if done.told:
        shell.terminal.note(f"told within a second, or when the daemon next starts: {', '.join(done.told)}")


async def _acknowledge(shell: Shell, alert: str, note: str | None, by: str | None) -> Acknowledged:
    me, now = this_user(), SystemClock().now()

    async def take_on(tx: AsyncConnection) -> Acknowledged:
        done = await acknowledge(tx, alert, by=by or me.user, note=note, now=now)
        if not done.already:
            await add_action(tx, me.did(Action.ACKNOWLEDGE, done.alert_id), now, logged=False)
        return done

    async with store_of(config_of(shell)) as database:
        return await database.transact(take_on)
