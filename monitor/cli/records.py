"""`drift`, `changes`, `alerts`, `deliveries`: what the store knows, one page of it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.cli.shell import (
    DEFAULT_LIMIT,
    ConnectionOption,
    FormatOption,
    LimitOption,
    ListFormatOption,
    ListLimitOption,
    Shell,
    SinceOption,
    StateOption,
    config_of,
    shell_of,
    since_at,
    store_of,
    this_user,
    unseen,
)
from monitor.cli.terminal import Format, ListFormat, Terminal, instant
from monitor.clock import SystemClock
from monitor.config import Config
from monitor.daemon.watchlist import rules_of
from monitor.drift.alert import Kind, Status
from monitor.drift.snapshot import ChangeKind
from monitor.drift.text import counted
from monitor.errors import unknown_name
from monitor.store.actions import Action, add_action
from monitor.store.alert_lists import alert_bodies
from monitor.store.codec import Codec
from monitor.store.connections import names_of_watched, watched
from monitor.store.export import ALERT_COLUMNS, CHANGE_COLUMNS, PROBLEM_COLUMNS, values_of
from monitor.store.history import change_rows, period
from monitor.store.net import NetPage, net_rows
from monitor.store.outbox import receiver_rows
from monitor.store.paging import Page
from monitor.store.queries import delivery_rows, problems
from monitor.store.reach import not_tried
from monitor.store.requests import Dismissed, Retried, RetriedNow, dismiss, retry, retry_now
from monitor.store.rows import Problem, ProblemStatus, connection_row

REFUSED = 1
_TURN = 1000
"""Rows of an export that are read at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A question to the store: what its rows are called, and how they look in a table.

    `ask` takes a transaction, the config, and filters by name. `spare` columns go below their row where a
    terminal is narrow. `aside` is said beside the rows, or their absence, given the filter by connection.
    `exported` are what CSV has of a row.
    """

    ask: Callable[..., Awaitable[Page[Any]]]
    noun: str
    nothing: str
    columns: tuple[str, ...]
    spare: tuple[str, ...]
    aside: Callable[[AsyncConnection, str | None], Awaitable[Sequence[str]]] | None = None
    exported: tuple[str, ...] = ()


def drift(
    ctx: typer.Context,
    connection: ConnectionOption = None,
    state: StateOption = None,
    status: Annotated[ProblemStatus | None, typer.Option("--status", help="Only this status.")] = None,
    since: SinceOption = None,
    limit: ListLimitOption = None,
    format: ListFormatOption = ListFormat.TABLE,  # noqa: A002 - the name of the option
) -> None:
    """List the numbers that are in trouble now, as of the last syncs.

    Trouble is pending until enough syncs have confirmed it (or a maintenance window ends), then alerting, and
    ending while the number looks good again; an [[ignore]] rule makes it ignored, a silence silenced. Removed
    and reconfigured numbers are listed until they are accepted or return. Standard error says which
    connections cannot be seen: of these, the numbers are listed as last seen.

    Exit codes:
      0  done
      2  the config cannot be used, or there is no store yet

    Examples:
      voicelink-monitor drift
      voicelink-monitor drift --connection 'acme-*' --state NO_BOT
      voicelink-monitor drift --status alerting --since 2h --format json
      voicelink-monitor drift --format csv
    """
    filters = {"connection": connection, "state": state, "status": status, "since": _at(since)}
    _list(ctx, _DRIFT, filters, limit, format)


def changes(
    ctx: typer.Context,
    connection: ConnectionOption = None,
    state: StateOption = None,
    change: Annotated[
        ChangeKind | None, typer.Option("--change", "--status", help="Only changes of this kind.")
    ] = None,
    since: SinceOption = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="WHEN", help="Like --since, to go with --to; of both, the later counts."
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", metavar="WHEN", help="Only until then, written like --since.")
    ] = None,
    net: Annotated[
        bool, typer.Option("--net", help="The difference between --from and --to, or now.")
    ] = False,
    limit: ListLimitOption = None,
    format: ListFormatOption = ListFormat.TABLE,  # noqa: A002 - the name of the option
) -> None:
    """List the changes that syncs found, newest first.

    --state also matches the state or issues that a number had before the change. With --net each number is
    listed once at most, by connection: how it was at --from, and how it is at --to. One that changed in
    between and is again as it was is counted, not listed; a connection that was not watched yet is compared
    with its first answer.

    Exit codes:
      0  done
      2  the config cannot be used, there is no store yet, or history does not reach back to --from

    Examples:
      voicelink-monitor changes --since 24h
      voicelink-monitor changes --net --from 7d
      voicelink-monitor changes --net --from 2026-01-30T18:00:00Z --to 2026-01-31T09:00:00Z --format json
      voicelink-monitor changes --from 2026-01-30 --to 2026-01-31T09:00:00Z
      voicelink-monitor changes --connection acme-sales --change removed
      voicelink-monitor changes --since 30d --format csv
    """
    now = SystemClock().now()
    bounds = period(
        since=since_at(since, now), start=since_at(start, now, "--from"), until=since_at(until, now, "--to")
    )
    filters = {"connection": connection, "state": state, "change": change}
    if not net:
        _list(ctx, _CHANGES, {**filters, **bounds}, limit, format)
        return
    if "since" not in bounds:
        raise typer.BadParameter("needs --from, the instant to compare with", param_hint="--net")
    first, last = bounds["since"], bounds.get("until", now)
    nothing = f"no number differs between {instant(first)} and {instant(last)}"
    ask = partial(_net, since=first, until=max(first, last))
    _list(ctx, replace(_CHANGES, ask=ask, nothing=nothing), filters, limit, format)


def alerts(
    ctx: typer.Context,
    connection: ConnectionOption = None,
    state: StateOption = None,
    kind: Annotated[Kind | None, typer.Option("--kind", help="Only alerts of this kind.")] = None,
    status: Annotated[Status | None, typer.Option("--status", help="Only this status.")] = None,
    since: SinceOption = None,
    limit: ListLimitOption = None,
    format: ListFormatOption = ListFormat.TABLE,  # noqa: A002 - the name of the option
) -> None:
    """List alerts, most recently started first; --since keeps those that were firing at any time since then.

    In JSON each is the alert's current body, the same that webhooks get.

    Exit codes:
      0  done
      2  the config cannot be used, or there is no store yet

    Examples:
      voicelink-monitor alerts --status firing
      voicelink-monitor alerts --since 7d --format json
      voicelink-monitor alerts --status resolved --format csv
    """
    filters = {
        "connection": connection,
        "state": state,
        "kind": kind,
        "status": status,
        "since": _at(since),
    }
    _list(ctx, _ALERTS, filters, limit, format)


def deliveries(
    ctx: typer.Context,
    connection: ConnectionOption = None,
    state: StateOption = None,
    receiver: Annotated[str | None, typer.Option("--receiver", help="Only to this receiver.")] = None,
    status: Annotated[
        str | None, typer.Option("--status", help="Only pending, delivered, dead or closed deliveries.")
    ] = None,
    since: SinceOption = None,
    limit: LimitOption = None,
    again: Annotated[
        str | None, typer.Option("--retry", metavar="ID|all", help="Send this dead delivery, or all, again.")
    ] = None,
    closed: Annotated[
        str | None, typer.Option("--dismiss", metavar="ID|all", help="Close this dead delivery, or all.")
    ] = None,
    tried: Annotated[
        str | None,
        typer.Option(
            "--retry-now", metavar="RECEIVER", help="Try this receiver now with all that waits for it."
        ),
    ] = None,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the name of the option
) -> None:
    """List the messages to receivers, most recently queued first; send dead ones again, or dismiss them.

    A delivery is dead when its receiver rejected the message itself, and closed when there is no more need to
    send it. --retry queues a dead one again; the daemon sends it within seconds, or when it next starts. A
    delivery is not sent again if a newer message about the same alert is queued behind it, as the two would
    contradict each other, or if it would open an alert that has ended. --dismiss closes a dead one.
    --retry-now tries a receiver that was mended, within a second: with all that waits for its next try, and
    with its dead deliveries as by --retry; an Alertmanager is posted to. One that answered 410 Gone is tried
    only then, or after a reload.

    Exit codes:
      0  done
      1  some deliveries were not queued again, or not closed
      2  the config cannot be used, there is no store yet, or no receiver is called so

    Examples:
      voicelink-monitor deliveries --status dead
      voicelink-monitor deliveries --receiver hook --since 1h
      voicelink-monitor deliveries --retry all
      voicelink-monitor deliveries --dismiss all
      voicelink-monitor deliveries --retry-now pd
    """
    shell = shell_of(ctx)
    asked = {"--retry": again, "--dismiss": closed, "--retry-now": tried}
    acts = [option for option, value in asked.items() if value is not None]
    if len(acts) > 1:
        raise typer.BadParameter(f"cannot be combined with {acts[0]}", param_hint=acts[1])
    if tried is not None:
        asyncio.run(_try_now(shell, tried, format))
        return
    if again is not None:
        asyncio.run(_act(shell, retry, again, format))
        return
    if closed is not None:
        asyncio.run(_act(shell, dismiss, closed, format))
        return
    if status not in (None, "pending", "delivered", "dead", "closed"):
        raise typer.BadParameter("must be pending, delivered, dead or closed", param_hint="--status")
    filters = {
        "connection": connection,
        "state": state,
        "receiver": receiver,
        "status": status,
        "since": _at(since),
    }
    _list(ctx, _DELIVERIES, filters, limit, ListFormat(format))


def _at(since: str | None) -> datetime | None:
    return since_at(since, SystemClock().now())


def _list(
    ctx: typer.Context,
    listing: Listing,
    filters: Mapping[str, Any],
    limit: int | None,
    form: ListFormat,
) -> None:
    shell, terminal = shell_of(ctx), shell_of(ctx).terminal
    given = {name: value for name, value in filters.items() if value is not None}
    config = config_of(shell)
    if form is ListFormat.CSV:
        notes = asyncio.run(_export(config, terminal, listing, given, limit))
    else:
        page, notes = asyncio.run(_ask(config, listing, given, limit or DEFAULT_LIMIT))
        if form is ListFormat.JSON:
            terminal.json(page.rows)
        elif page.rows:
            rows = [[_value(row, column) for column in listing.columns] for row in page.rows]
            terminal.table(listing.columns, rows, spare=listing.spare)
        if page.next is not None:
            notes.append(f"showing the first {len(page.rows)}: raise --limit or add filters")
    for note in notes:
        terminal.note(note)


async def _ask(
    config: Config, listing: Listing, given: Mapping[str, Any], limit: int
) -> tuple[Page[Any], list[str]]:
    async with store_of(config) as database, database.read() as tx:
        page = await listing.ask(tx, config, limit=limit, **given)
        notes = await _notes(tx, config, listing, given, nothing=not page.rows)
        returned, beside, rest = 0, list[str](), page
        while isinstance(rest, NetPage):
            returned, beside = returned + rest.returned, beside + rest.notes
            if rest.next is None:
                break
            rest = await listing.ask(tx, config, limit=_TURN, after=rest.next, **given)
        return page, notes + beside + _came_back(returned)


async def _export(
    config: Config, terminal: Terminal, listing: Listing, given: Mapping[str, Any], most: int | None
) -> list[str]:
    """Write all rows as CSV, read in turns: whoever takes them may be slow."""
    after: dict[str, str] = {}
    done = returned = 0
    beside: list[str] = []
    async with store_of(config) as database:
        terminal.csv([listing.exported])
        while True:
            limit = _TURN if most is None else min(_TURN, most - done)
            async with database.read() as tx:
                page = await listing.ask(tx, config, limit=limit, **given, **after)
                notes = await _notes(tx, config, listing, given, nothing=not (page.rows or after))
            terminal.csv([values_of(row, listing.exported) for row in page.rows])
            done += len(page.rows)
            if isinstance(page, NetPage):
                returned, beside = returned + page.returned, beside + page.notes
            if page.next is None or done == most:
                return notes + beside + _came_back(returned)
            after = {"after": page.next}


def _came_back(numbers: int) -> list[str]:
    """Return a line about numbers that changed in between and are again as they were, if there are any."""
    are = "is again as it was" if numbers == 1 else "are again as they were"
    return [f"{counted(numbers, 'number')} changed in between and {are}"] if numbers else []


async def _notes(
    tx: AsyncConnection, config: Config, listing: Listing, given: Mapping[str, Any], *, nothing: bool
) -> list[str]:
    """Return what is to be said beside the rows."""
    notes = await _why_nothing(tx, config, listing, given) if nothing else []
    if listing.aside is not None:
        notes += await listing.aside(tx, given.get("connection"))
    return notes


async def _why_nothing(
    tx: AsyncConnection, config: Config, listing: Listing, given: Mapping[str, Any]
) -> list[str]:
    """Return a line for each filter that matches nothing even alone, or one for all of them together."""
    unknown: dict[str, str] = {}
    glob, receiver = given.get("connection"), given.get("receiver")
    if glob is not None and not await watched(tx, Codec(), connection=glob):
        unknown["connection"] = f'no connection matches "{glob}"'
    receivers = ["log", *(each.name for each in config.receivers)]
    if receiver is not None and receiver not in receivers:
        unknown["receiver"] = unknown_name("receiver", receiver, receivers)
    if not unknown and not (await listing.ask(tx, config, limit=1)).rows:
        return [listing.nothing]
    notes = []
    for name, value in given.items():
        if not (await listing.ask(tx, config, limit=1, **{name: value})).rows:
            shown = instant(value) if isinstance(value, datetime) else value
            words = _NOTHING.get(name, 'no {noun} with {name} "{value}"')
            notes.append(unknown.get(name) or words.format(noun=listing.noun, name=name, value=shown))
    return notes or [f"no {listing.noun} match all of these filters"]


_NOTHING = {
    "connection": 'no {noun} for connections matching "{value}"',
    "receiver": 'no {noun} to receiver "{value}"',
    "state": 'no {noun} with state or issue "{value}"',
    "since": "no {noun} since {value}",
    "until": "no {noun} until {value}",
    "change": 'no {noun} of kind "{value}"',
    "kind": 'no {noun} of kind "{value}"',
}


async def _act(
    shell: Shell, act: Callable[..., Awaitable[Retried | Dismissed]], which: str, form: Format
) -> None:
    now = SystemClock().now()

    async def write(tx: AsyncConnection) -> Retried | Dismissed:
        done = await act(tx, None if which == "all" else which, now)
        action, ids = (
            (Action.RETRY, done.retried) if isinstance(done, Retried) else (Action.DISMISS, done.dismissed)
        )
        if ids:
            await add_action(tx, this_user().did(action, which), now, logged=False)
        return done

    async with store_of(config_of(shell)) as database:
        done = await database.transact(write)
    if form is Format.JSON:
        shell.terminal.json(done)
    elif isinstance(done, Retried):
        shell.terminal.line(f"queued again: {len(done.retried)}")
    else:
        shell.terminal.line(f"dismissed: {len(done.dismissed)}")
    for each, reason in done.refused.items():
        shell.terminal.error(f"{each}: {reason}")
    if done.refused:
        raise typer.Exit(REFUSED)


async def _try_now(shell: Shell, receiver: str, form: Format) -> None:
    now = SystemClock().now()

    async def act(tx: AsyncConnection) -> RetriedNow:
        done = await retry_now(tx, receiver, now)
        await add_action(tx, this_user().did(Action.RETRY_NOW, receiver), now, logged=False)
        return done

    async with store_of(config_of(shell)) as database:
        done = await database.transact(act)
    if form is Format.JSON:
        shell.terminal.json(done)
    elif done.urls:
        shell.terminal.line(f"posted to now: {', '.join(done.urls)}")
    elif done.waiting:
        shell.terminal.line(f"tried now: {counted(done.waiting, 'message')} for {receiver}")
    else:
        shell.terminal.line(f"nothing waits for {receiver}")
    if done.urls or done.waiting:
        shell.terminal.note("the daemon acts on this within a second, or when it next starts")


async def _net(tx: AsyncConnection, _config: Config, **given: Any) -> NetPage:
    return await net_rows(tx, Codec(), **given, most=None)


async def _problems(tx: AsyncConnection, config: Config, **given: Any) -> Page[Problem]:
    names = await names_of_watched(tx)
    return await problems(
        tx, Codec(), lambda identity: rules_of(config, names[identity]), SystemClock().now(), **given
    )


async def _unseen(tx: AsyncConnection, connection: str | None) -> list[str]:
    """Return a line for each connection of which the rows say how it was, not how it is."""
    states = await watched(tx, Codec(), connection=connection)
    return unseen([connection_row(each, maintenance=None) for each in states], SystemClock().now())


async def _gone(tx: AsyncConnection, _: str | None) -> list[str]:
    """Return a line for each receiver that is not tried."""
    return [not_tried(row.name, row.gone_since) for row in await receiver_rows(tx) if row.gone_since]


_DRIFT = Listing(
    ask=_problems,
    noun="numbers in trouble",
    nothing="no numbers are in trouble",
    columns=("connection", "number", "kind", "state", "issues", "status", "since", "what to do", "alert"),
    spare=("alert", "what to do", "issues", "kind"),
    aside=_unseen,
    exported=PROBLEM_COLUMNS,
)
_CHANGES = Listing(
    ask=lambda tx, _config, **given: change_rows(tx, **given),
    noun="changes",
    nothing="no changes are recorded yet",
    columns=("at", "connection", "change", "number", "was", "is", "moved", "issues"),
    spare=("issues", "was", "moved"),
    exported=CHANGE_COLUMNS,
)
_ALERTS = Listing(
    ask=lambda tx, _config, **given: alert_bodies(tx, **given),
    noun="alerts",
    nothing="no alerts are recorded yet",
    columns=("started", "status", "severity", "summary", "resolution", "part of", "alert"),
    spare=("part of", "alert", "resolution"),
    exported=ALERT_COLUMNS,
)
_DELIVERIES = Listing(
    ask=lambda tx, _config, **given: delivery_rows(tx, **given),
    noun="deliveries",
    nothing="no deliveries are recorded yet",
    columns=("queued", "receiver", "change", "status", "tries", "answer", "summary", "delivery"),
    spare=("delivery", "summary", "tries"),
    aside=_gone,
)

_ATTRIBUTES = {
    "number": "phone_number",
    "what to do": "action",
    "alert": "alert_id",
    "part of": "part_of",
    "was": "previous_state",
    "is": "state",
    "started": "started_at",
    "queued": "created_at",
    "tries": "attempts",
    "delivery": "id",
}
"""What a row calls a column, where not the same."""


def _value(row: Any, column: str) -> Any:
    value = getattr(row, _ATTRIBUTES.get(column, column))
    # An alert's body holds its instants as text.
    return datetime.fromisoformat(value) if column == "started" else value
