"""`explain`: why a number or an alert paged, or did not."""

import asyncio
from typing import Annotated

import typer

from monitor.cli.number import NOT_FOUND
from monitor.cli.shell import FormatOption, Shell, config_of, shell_of, store_of, unseen
from monitor.cli.terminal import Format, Terminal
from monitor.clock import SystemClock
from monitor.daemon.grounds import configured_grounds
from monitor.drift.explain import Explanation
from monitor.errors import UnknownName
from monitor.store.alerts import alert_body, alert_named
from monitor.store.codec import Codec
from monitor.store.connections import watched
from monitor.store.explanations import explain as explain_alert
from monitor.store.numbers import Match, NumberDetail, number_named
from monitor.store.rows import connection_row


def explain(
    ctx: typer.Context,
    subject: Annotated[
        list[str],
        typer.Argument(metavar="NUMBER|ALERT", help="A number in any form, or the id of an alert."),
    ],
    format: FormatOption = Format.TABLE,  # noqa: A002 - the name of the option
) -> None:
    """Explain why a number or an alert paged, or did not, and what happens next.

    It says what the last syncs found, and how often of how often needed; whether an answer is held; which
    rule, silence or maintenance window keeps it quiet, and until when; which receivers were told, or why they
    were not; and when an alert opens or ends. In JSON, `verdict` is one of pages, pending, silenced,
    filtered, ended and ready, and `next_at` is when something moves next if the provider goes on answering
    the same. Works without the daemon.

    Exit codes:
      0  explained
      1  no such number or alert, or several numbers end with these digits
      2  the config cannot be used, or there is no store yet

    Examples:
      voicelink-monitor explain +918011223344
      voicelink-monitor explain 1122 3344
      voicelink-monitor explain ef3e9ee6b3b824c9 --format json
    """
    shell = shell_of(ctx)
    asked = " ".join(subject)
    found, notes = asyncio.run(_find(shell, asked))
    if isinstance(found, list):
        _list(shell.terminal, found, asked)
        raise typer.Exit(NOT_FOUND)
    if format is Format.JSON:
        shell.terminal.json(found)
    else:
        for line in lines_of(found):
            shell.terminal.line(line)
    for note in notes:
        shell.terminal.note(note)


def lines_of(found: Explanation) -> list[str]:
    """Return an explanation as it is shown."""
    return [f"{found.subject}: {found.verdict}", *(f"- {sentence}" for sentence in found.sentences)]


def _list(terminal: Terminal, matches: list[Match], asked: str) -> None:
    if not matches:
        terminal.error(f"no alert has this id, and no number is, or ends with, {asked}")
        return
    terminal.error("several numbers end with these digits: give more of them")
    for match in matches:
        terminal.note(f"could be meant: {match.phone_number} ({match.connection or 'gone'})")


async def _find(shell: Shell, subject: str) -> tuple[Explanation | list[Match], list[str]]:
    config, now, codec = config_of(shell), SystemClock().now(), Codec()
    grounds = configured_grounds(config, now)
    async with store_of(config) as database, database.read() as tx:
        number = await number_named(tx, codec, subject, grounds, now)
        if isinstance(number, NumberDetail):
            found, about = number.explained, {number.connection}
        else:
            try:
                alert_id = await alert_named(tx, subject)
            except UnknownName:
                return number, []
            alert = await explain_alert(tx, codec, alert_id, grounds, now)
            if alert is None:
                return [], []
            body = await alert_body(tx, alert_id)
            found, about = alert, set(body.connections)
        rows = [connection_row(each, maintenance=None) for each in await watched(tx, codec)]
        return found, unseen([row for row in rows if row.name in about], now)
