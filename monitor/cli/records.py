"""`drift`, `changes`, `alerts`, `deliveries`: what the store knows, one page of it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, TypeVar

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.cli.options import (
    DEFAULT_LIMIT,
    ConnectionOption,
    FormatOption,
    LimitOption,
    SinceOption,
    StateOption,
    since_at,
)
from monitor.cli.shell import Shell, config_of, shell_of, store_of
from monitor.cli.terminal import Format
from monitor.clock import SystemClock
from monitor.config import Config
from monitor.daemon.build import rules_of
from monitor.drift.alert import AlertBody, Kind, Status
from monitor.drift.rules import Rules
from monitor.drift.snapshot import ChangeKind
from monitor.store.codec import Codec
from monitor.store.connections import watched
from monitor.store.paging import Page
from monitor.store.queries import alert_bodies, change_rows, delivery_rows, troubles
from monitor.store.requests import Retried, retry
from monitor.store.rows import ChangeRow, DeliveryRow, Trouble, TroubleStatus

T = TypeVar("T")

REFUSED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TableView:
    """How the rows of one question look in a table.

    `spare` are the columns to leave out first where a terminal is narrow; `instead` says below the table what
    must be known even so, given the rows and the columns that were left out.
    """

    columns: tuple[str, ...]
    row: Callable[[Any], Sequence[Any]]
    nothing: str
    spare: tuple[str, ...]
    instead: Callable[[Sequence[Any], frozenset[str]], Sequence[str]] = lambda _rows, _out: ()


def drift(
    ctx: typer.Context,
    connection: ConnectionOption = None,
    state: StateOption = None,
    status: Annotated[TroubleStatus | None, typer.Option("--status", help="Only these.")] = None,
    since: SinceOption = None,
    limit: LimitOption = DEFAULT_LIMIT,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the name of the option
) -> None:
    """List the numbers that are in trouble now, as the last syncs saw them.

    A trouble is pending until enough syncs confirmed it (or a maintenance window ends), then alerting, and
    ending while the number seems good again; an [[ignore]] rule makes it ignored. Removed and reconfigured
    numbers are listed while somebody could accept them.
    """
    shell = shell_of(ctx)
    now = SystemClock().now()
    begun = since_at(since, now)

    async def ask(tx: AsyncConnection, config: Config) -> Page[Trouble]:
        codec = Codec()
        rules: dict[str, Rules] = {
            standing.identity: rules_of(config, standing.name) for standing in await watched(tx, codec)
        }
        return await troubles(
            tx,
            codec,
            rules.get,
            now,
            connection=connection,
            state=state,
            status=status,
            since=begun,
            limit=limit,
        )

    _answer(shell, format, _DRIFT, asyncio.run(_asked(shell, ask)))


def changes(
    ctx: typer.Context,
    connection: ConnectionOption = None,
    state: StateOption = None,
    change: Annotated[ChangeKind | None, typer.Option("--change", "--status", help="Only these.")] = None,
    since: SinceOption = None,
    limit: LimitOption = DEFAULT_LIMIT,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the name of the option
) -> None:
    """List the differences that syncs found, newest first.

    With --state those whose state or issue it was or became.
    """
    shell = shell_of(ctx)
    begun = since_at(since, SystemClock().now())

    async def ask(tx: AsyncConnection, _: Config) -> Page[ChangeRow]:
        return await change_rows(
            tx, connection=connection, state=state, change=change, since=begun, limit=limit
        )

    _answer(shell, format, _CHANGES, asyncio.run(_asked(shell, ask)))


def alerts(
    ctx: typer.Context,
    connection: ConnectionOption = None,
    state: StateOption = None,
    kind: Annotated[Kind | None, typer.Option("--kind", help="Only these.")] = None,
    status: Annotated[Status | None, typer.Option("--status", help="Only these.")] = None,
    since: SinceOption = None,
    limit: LimitOption = DEFAULT_LIMIT,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the name of the option
) -> None:
    """List alerts, the latest started first; with --since those that were firing at some time since then.

    In JSON each is the alert body as it stands now, the same that webhooks get.
    """
    shell = shell_of(ctx)
    begun = since_at(since, SystemClock().now())

    async def ask(tx: AsyncConnection, _: Config) -> Page[AlertBody]:
        return await alert_bodies(
            tx, connection=connection, state=state, kind=kind, status=status, since=begun, limit=limit
        )

    _answer(shell, format, _ALERTS, asyncio.run(_asked(shell, ask)))


def deliveries(
    ctx: typer.Context,
    connection: ConnectionOption = None,
    state: StateOption = None,
    receiver: Annotated[str | None, typer.Option("--receiver", help="Only to this one.")] = None,
    status: Annotated[
        str | None, typer.Option("--status", help="Only pending, delivered, dead or closed ones.")
    ] = None,
    since: SinceOption = None,
    limit: LimitOption = DEFAULT_LIMIT,
    again: Annotated[
        str | None, typer.Option("--retry", metavar="ID|all", help="Send this dead one, or all, again.")
    ] = None,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the name of the option
) -> None:
    """List the messages to receivers, the latest queued first, or send dead ones again.

    A delivery is dead when its receiver refused the message itself. --retry queues it once more; the daemon
    takes it within seconds, or at its next start. One with a newer message about its alert behind it is not
    sent again: it would contradict that.
    """
    shell = shell_of(ctx)
    if again is not None:
        _retry(shell, again, format)
        return
    if status not in (None, "pending", "delivered", "dead", "closed"):
        raise typer.BadParameter("one of pending, delivered, dead, closed", param_hint="--status")
    begun = since_at(since, SystemClock().now())

    async def ask(tx: AsyncConnection, _: Config) -> Page[DeliveryRow]:
        return await delivery_rows(
            tx,
            receiver=receiver,
            status=status,
            state=state,
            connection=connection,
            since=begun,
            limit=limit,
        )

    _answer(shell, format, _DELIVERIES, asyncio.run(_asked(shell, ask)))


async def _asked(shell: Shell, ask: Callable[[AsyncConnection, Config], Awaitable[Page[T]]]) -> Page[T]:
    config = config_of(shell)
    async with store_of(config) as database, database.read() as tx:
        return await ask(tx, config)


def _answer(shell: Shell, form: Format, view: TableView, page: Page[Any]) -> None:
    if form is Format.JSON:
        shell.terminal.json(page.rows)
    elif page.rows:
        out = shell.terminal.table(view.columns, [view.row(row) for row in page.rows], spare=view.spare)
        for line in view.instead(page.rows, out):
            shell.terminal.line(line)
    else:
        shell.terminal.note(view.nothing)
    if page.next is not None:
        shell.terminal.note(f"there are more than these {len(page.rows)}: raise --limit or filter")


def _retry(shell: Shell, again: str, form: Format) -> None:
    done = asyncio.run(_retried(shell, None if again == "all" else again, SystemClock().now()))
    if form is Format.JSON:
        shell.terminal.json(done)
    else:
        shell.terminal.line(f"queued again: {len(done.retried)}")
    for delivery, reason in done.refused.items():
        shell.terminal.error(f"{delivery}: {reason}")
    if done.refused:
        raise typer.Exit(REFUSED)


async def _retried(shell: Shell, delivery: str | None, now: datetime) -> Retried:
    async with store_of(config_of(shell)) as database, database.write() as tx:
        return await retry(tx, delivery, now)


def _to_do(rows: Sequence[Trouble], out: frozenset[str]) -> list[str]:
    """Return what to do first about each state, where the table has no room to say it of each number."""
    if "do first" not in out:
        return []
    return [
        f"{state}: {action}" for state, action in sorted({(row.state, row.action or "-") for row in rows})
    ]


_DRIFT = TableView(
    columns=(
        "connection",
        "number",
        "kind",
        "state",
        "issues",
        "status",
        "since",
        "do first",
        "alert",
    ),
    row=lambda row: (
        row.connection,
        row.phone_number,
        row.kind,
        row.state,
        row.issues,
        row.status,
        row.since,
        row.action,
        row.alert_id,
    ),
    nothing="no number is in such trouble",
    spare=("alert", "kind", "do first", "issues"),
    instead=_to_do,
)

_CHANGES = TableView(
    columns=("at", "connection", "change", "number", "was", "is", "issues"),
    row=lambda row: (
        row.at,
        row.connection,
        row.change,
        row.phone_number,
        row.previous_state,
        row.state,
        row.issues,
    ),
    nothing="no such change is recorded",
    spare=("issues", "was"),
)

_ALERTS = TableView(
    columns=("started", "status", "severity", "summary", "resolution", "alert"),
    row=lambda body: (
        datetime.fromisoformat(body.started_at),
        body.status,
        body.severity,
        body.summary,
        body.resolution,
        body.alert_id,
    ),
    nothing="there is no such alert",
    spare=("alert", "resolution"),
)

_DELIVERIES = TableView(
    columns=("queued", "receiver", "change", "status", "tries", "answer", "summary", "delivery"),
    row=lambda row: (
        row.created_at,
        row.receiver,
        row.change,
        row.status,
        row.attempts,
        row.answer,
        row.summary,
        row.id,
    ),
    nothing="there is no such delivery",
    spare=("delivery", "summary", "tries"),
)
