"""`silence add`, `silence list`, `silence end`: keep numbers quiet for a while."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from monitor.cli.shell import (
    DEFAULT_LIMIT,
    FormatOption,
    LimitOption,
    Shell,
    config_of,
    shell_of,
    store_of,
    this_user,
)
from monitor.cli.terminal import Format, instant
from monitor.clock import SystemClock
from monitor.daemon.watchlist import ignores_of
from monitor.drift.silences import NewSilence
from monitor.errors import Invalid, Refused, UnknownName
from monitor.store.codec import Codec
from monitor.store.paging import Page
from monitor.store.quiet import quiet_notices, silence_rows
from monitor.store.rows import QuietNotice, SilenceRow
from monitor.store.silencing import set_silence, stop_silence

NO_SUCH_ID = 1

_SOON = "the daemon acts on this within a second, or when it next starts"
_COLUMNS = ("silence", "matches", "until", "numbers", "by", "reason")

By = Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who asks; default: your login name.")]


def add(
    ctx: typer.Context,
    reason: Annotated[str, typer.Option("--reason", help="Why; shown wherever the silence is.")],
    connection: Annotated[
        str | None, typer.Option("--connection", metavar="GLOB", help="Connections whose name matches.")
    ] = None,
    number: Annotated[
        str | None, typer.Option("--number", metavar="GLOB", help="Phone numbers that match, like '+9180*'.")
    ] = None,
    state: Annotated[
        str | None, typer.Option("--state", help="Numbers while in this state; case is ignored.")
    ] = None,
    issue: Annotated[
        str | None, typer.Option("--issue", help="This issue code; a number with others still alerts.")
    ] = None,
    alert: Annotated[
        str | None,
        typer.Option(
            "--alert",
            metavar="ID",
            help="The numbers that are in this alert now; its id, or the beginning of it.",
        ),
    ] = None,
    duration: Annotated[
        str | None, typer.Option("--for", metavar="DURATION", help='For so long, like "2h" or "3d".')
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            "--until", metavar="WHEN", help="Until then: 2026-01-31T09:00:00Z, or a whole day, UTC."
        ),
    ] = None,
    until_ready: Annotated[
        bool, typer.Option("--until-ready", help="Until each number that drifts now is ready or gone.")
    ] = False,
    by: By = None,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the name of the option
) -> None:
    """Keep numbers quiet for a while: what matches all of these does not alert, and open alerts about it end.

    Give at least one of --connection, --number, --state, --issue and --alert, and one end. Drift is still
    recorded and counted; what still drifts when the silence ends alerts anew. Silences are about numbers; an
    alert about failing connections or receivers can be acknowledged instead.

    Exit codes:
      0  silenced
      1  no such alert
      2  the silence cannot be set like this, or there is no store yet

    Examples:
      voicelink-monitor silence add --connection 'acme-*' --for 2h --reason 'routing is being moved'
      voicelink-monitor silence add --state NO_BOT --until 2026-12-31 --reason 'the bots go live in January'
      voicelink-monitor silence add --number '+9180*' --until-ready --reason 'the carrier is on it' --by asha
    """
    shell = shell_of(ctx)
    asked = NewSilence(
        connection=connection,
        number=number,
        state=state,
        issue=issue,
        alert=alert,
        for_=duration,
        until=until,
        until_ready=until_ready,
        reason=reason,
        by=by or this_user().user,
    )
    try:
        row = asyncio.run(_add(shell, asked))
    except Invalid as exc:
        raise typer.BadParameter(str(exc), param_hint=f"--{exc.field.replace('_', '-')}") from None
    except UnknownName as exc:
        shell.terminal.error(f"{alert}: {exc}")
        raise typer.Exit(NO_SUCH_ID) from None
    if format is Format.JSON:
        shell.terminal.json(row)
    else:
        quiet = f"{row.numbers} drifting now" if row.numbers else "none drifting now"
        shell.terminal.line(f"silenced: {row.matchers} {_until(row)} ({quiet})")
        shell.terminal.line(f"to end it: voicelink-monitor silence end {row.id}")
    for note in row.notes:
        if note.startswith("matches"):
            shell.terminal.warning(f"silence {row.id} {note}")
    shell.terminal.note(_SOON)


def list_(
    ctx: typer.Context,
    ended: Annotated[bool, typer.Option("--all", help="Also silences that have ended.")] = False,
    limit: LimitOption = None,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the name of the option
) -> None:
    """List the silences, latest first, with the numbers in trouble that each keeps quiet now.

    Also says which silences and [[ignore]] rules match nothing, or end within a day.

    Exit codes:
      0  done
      2  the config cannot be used, or there is no store yet

    Examples:
      voicelink-monitor silence list
      voicelink-monitor silence list --all --format json
    """
    shell = shell_of(ctx)
    page, notices = asyncio.run(_list(shell, limit or DEFAULT_LIMIT, ended=ended))
    if format is Format.JSON:
        shell.terminal.json(page.rows)
    elif page.rows:
        columns = (*_COLUMNS, "ended") if ended else _COLUMNS
        rows = [_cells(row)[: len(columns)] for row in page.rows]
        shell.terminal.table(columns, rows, spare=("by", "numbers"))
    else:
        shell.terminal.note("no silences are recorded" if ended else "no silences are active")
    for notice in notices:
        what = f"silence {notice.id}" if notice.id else f"[[ignore]] {notice.matchers}"
        shell.terminal.note(f"{what} {notice.note}")
    if page.next is not None:
        shell.terminal.note(f"showing the first {len(page.rows)}: raise --limit")


def end(
    ctx: typer.Context,
    silence: Annotated[str, typer.Argument(metavar="ID", help="The silence, as `silence list` shows it.")],
    by: By = None,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the name of the option
) -> None:
    """End a silence: what it kept quiet and still drifts alerts anew.

    Exit codes:
      0  ended
      1  no silence has this id, or it has ended already
      2  the config cannot be used, or there is no store yet

    Examples:
      voicelink-monitor silence end 606e12f8fe
    """
    shell = shell_of(ctx)
    try:
        row = asyncio.run(_end(shell, silence, by))
    except (UnknownName, Refused) as exc:
        shell.terminal.error(f"{silence}: {exc}")
        raise typer.Exit(NO_SUCH_ID) from None
    if format is Format.JSON:
        shell.terminal.json(row)
    else:
        shell.terminal.line(f"ended: {row.matchers}")
    shell.terminal.note(_SOON)


async def _add(shell: Shell, asked: NewSilence) -> SilenceRow:
    codec, now = Codec(), SystemClock().now()
    async with store_of(config_of(shell)) as database:
        made = await set_silence(database, codec, asked, this_user(), now, logged=False)
        async with database.read() as tx:
            found = await silence_rows(tx, codec, now, ended=True, silence_id=made.silence.id)
    return found.rows[0] if found.rows else made.silence


async def _list(shell: Shell, limit: int, *, ended: bool) -> tuple[Page[SilenceRow], list[QuietNotice]]:
    codec, now, config = Codec(), SystemClock().now(), config_of(shell)
    async with store_of(config) as database, database.read() as tx:
        page = await silence_rows(tx, codec, now, ended=ended, limit=limit)
        return page, await quiet_notices(tx, codec, ignores_of(config), now)


async def _end(shell: Shell, silence_id: str, by: str | None) -> SilenceRow:
    async with store_of(config_of(shell)) as database:
        now = SystemClock().now()
        ended = await stop_silence(database, silence_id, this_user(), now, name=by, logged=False)
    return ended.silence


def _until(row: SilenceRow) -> str:
    return f"until {instant(row.until)}" if row.until is not None else "until ready"


def _cells(row: SilenceRow) -> Sequence[object]:
    until = "ready" if row.until is None else row.until
    return row.id, row.matchers, until, row.numbers, row.by, row.reason, row.ended_at
