"""`number`: everything known about one number."""

import asyncio
from typing import Annotated, Any

import typer

from monitor.cli.shell import FormatOption, Shell, config_of, shell_of, store_of, unseen
from monitor.cli.terminal import Format, instant
from monitor.clock import SystemClock
from monitor.daemon.grounds import configured_grounds
from monitor.store.codec import Codec
from monitor.store.connections import watched
from monitor.store.inventory import FEWEST_DIGITS, digits_of
from monitor.store.numbers import DependsOn, Match, NumberDetail, number_named
from monitor.store.rows import connection_row

NOT_FOUND = 1


def number(
    ctx: typer.Context,
    number: Annotated[
        list[str],
        typer.Argument(metavar="NUMBER", help="The number in any form, or at least its last four digits."),
    ],
    format: FormatOption = Format.TABLE,  # noqa: A002 - the name of the option
) -> None:
    """Show everything known about one number: its state, what it depends on, its alerts, what happened.

    Write it in any form: +91…, 91…, 0091…, with spaces or dashes, or only its last digits. If several numbers
    end with these, they are listed: give more digits. A number that was removed is "gone", and shown as long
    as history is kept. Works without the daemon; what it then shows is what the last syncs found.

    Exit codes:
      0  found, or several numbers listed
      1  no such number
      2  the config cannot be used, there is no store yet, or there are too few digits

    Examples:
      voicelink-monitor number +918011223344
      voicelink-monitor number 080 1122 3344
      voicelink-monitor number 3344 --format json
    """
    shell = shell_of(ctx)
    asked = " ".join(number)
    found, notes = asyncio.run(_find(shell, asked))
    if format is Format.JSON and found:
        shell.terminal.json({"matches": found} if isinstance(found, list) else found)
    elif isinstance(found, NumberDetail):
        _show(shell, found)
    elif found:
        _list(shell, found)
    for note in notes:
        shell.terminal.note(note)
    if not found:
        shell.terminal.error(f"no number is, or ends with, {asked}")
        raise typer.Exit(NOT_FOUND)


async def _find(shell: Shell, text: str) -> tuple[NumberDetail | list[Match], list[str]]:
    if not digits_of(text):
        raise typer.BadParameter("is not a phone number", param_hint="NUMBER")
    config, now, codec = config_of(shell), SystemClock().now(), Codec()
    async with store_of(config) as database, database.read() as tx:
        found = await number_named(tx, codec, text, configured_grounds(config, now), now)
        if not found and len(digits_of(text)) < FEWEST_DIGITS:
            raise typer.BadParameter(f"give at least the last {FEWEST_DIGITS} digits", param_hint="NUMBER")
        about = {found.connection, *found.also_in} if isinstance(found, NumberDetail) else set()
        rows = [connection_row(each, maintenance=None) for each in await watched(tx, codec)]
        return found, unseen([row for row in rows if row.name in about], now)


def _list(shell: Shell, matches: list[Match]) -> None:
    rows = [
        (each.phone_number, each.connection, f"gone since {instant(each.gone_at)}" if each.gone_at else "")
        for each in matches
    ]
    shell.terminal.table(("number", "connection", "gone"), rows)
    shell.terminal.note("several numbers end with these digits: give more of them")


def _show(shell: Shell, found: NumberDetail) -> None:
    terminal = shell.terminal
    for sentence in found.explanation:
        terminal.line(sentence)
    terminal.line()
    terminal.table(("depends on", "id", "name", "active"), _dependencies(found.depends_on))
    if found.alerts:
        terminal.line()
        terminal.line(f"alerts: {', '.join(found.alerts)}")
    if found.timeline:
        terminal.line()
        rows = [
            (row.at, row.connection, row.change, row.previous_state, row.state, row.moved)
            for row in found.timeline
        ]
        terminal.table(("at", "connection", "change", "was", "is", "moved"), rows, spare=("moved", "was"))


def _dependencies(on: DependsOn) -> list[tuple[Any, ...]]:
    return [
        ("client", on.client.id, on.client.name, None),
        ("bot", on.bot.id, on.bot.name, on.bot.active),
        ("routing", on.routing.target, None, on.routing.active),
        ("agent", on.agent.id, on.agent.name, None),
    ]
