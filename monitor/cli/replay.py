"""`replay`: what would have paged."""

import asyncio
from collections import Counter
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.shell import (
    ConnectionOption,
    FormatOption,
    Shell,
    config_of,
    shell_of,
    since_at,
    store_of,
)
from monitor.cli.terminal import Format, Terminal, instant
from monitor.clock import SystemClock
from monitor.config import Config, find_config_file, load_config, secrets_of
from monitor.daemon.policies import ConfiguredPolicies
from monitor.drift.text import counted, duration
from monitor.errors import ConfigError, NoHistory
from monitor.replay.report import Replayed, ReplayedAlert, Verdict
from monitor.replay.run import replay as run_again
from monitor.store.codec import Codec
from monitor.store.connections import watched

NO_HISTORY = 3
_SINCE = "7d"


def replay(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            metavar="NEW",
            help="Replay with the rules of this config, not with those of then.",
        ),
    ] = None,
    since: Annotated[
        str,
        typer.Option(
            "--since", metavar="WHEN", help='A duration like "7d", or a time like 2026-01-31T09:00Z.'
        ),
    ] = _SINCE,
    connection: ConnectionOption = None,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the name of the option
) -> None:
    """Replay the recorded history, and show what would have paged beside what did.

    The daemon writes down what every sync found, what people accepted, silenced and acknowledged, and by
    which rules. Without --config the replay goes by these rules and must come to what happened. With the
    config that you are about to use, it shows what that would have made of the same history: which alerts are
    `new`, `gone`, `earlier` or `later`, how many messages each receiver had got, and how long trouble had
    been seen when its alert opened. Nothing is sent or written. The history is as long as `store.retention`.

    The store is the one that NEW names, or the config given before the command, as in
    `voicelink-monitor --config now.toml replay --config new.toml`.

    Exit codes:
      0  replayed
      2  a config cannot be used, or there is no store yet
      3  there is no history yet, or none since then

    Examples:
      voicelink-monitor replay --since 30d
      voicelink-monitor replay --config new.toml
      voicelink-monitor replay --config new.toml --connection 'acme-*' --format json
    """
    shell = shell_of(ctx)
    try:
        replayed = asyncio.run(_replay(shell, config, since, connection))
    except NoHistory as exc:
        shell.terminal.error(str(exc))
        raise typer.Exit(NO_HISTORY) from None
    except ConfigError as exc:
        if format is Format.JSON:
            shell.terminal.json({"problems": exc.problems})
        raise
    if format is Format.JSON:
        shell.terminal.json(replayed)
    else:
        _show(shell.terminal, replayed)
    if replayed.strayed:
        many = counted(replayed.strayed, "place")
        shell.terminal.warning(
            f"the history does not come out as it was recorded in {many}: please report this"
        )


async def _replay(shell: Shell, new: Path | None, since: str, connection: str | None) -> Replayed:
    now = SystemClock().now()
    at = since_at(since, now) or now
    asked = _read(shell, new) if new is not None else None
    named = shell.config_file or (None if asked is not None else find_config_file())
    config = asked if asked is not None and named is None else config_of(shell)
    async with store_of(config) as database:
        replayed = await run_again(
            database,
            Codec(),
            since=at,
            connection=connection,
            policies=ConfiguredPolicies(asked, now) if asked is not None else None,
            kept=config.store.retention,
            watch=partial(shell.terminal.progress, "replaying"),
        )
        if connection is not None and not replayed.alerts:
            async with database.read() as tx:
                known = await watched(tx, Codec(), connection=connection)
            if not known:
                shell.terminal.note(f'no connection matches "{connection}"')
    return replayed


def _read(shell: Shell, file: Path) -> Config:
    config = load_config(file)
    shell.terminal.redactor.learn(secrets_of(config))
    for warning in config.warnings:
        shell.terminal.warning(warning)
    return config


def _show(terminal: Terminal, replayed: Replayed) -> None:
    if replayed.alerts:
        terminal.table(
            ("verdict", "opened", "shift", "kind", "connection", "state", "numbers", "ended"),
            [_row(alert) for alert in replayed.alerts],
            spare=("ended",),
        )
    counts = Counter(alert.verdict for alert in replayed.alerts)
    verdicts = ", ".join(f"{counts[verdict]:,} {verdict}" for verdict in Verdict if counts[verdict])
    span = f"{instant(replayed.since)} to {instant(replayed.until)}"
    summary = replayed.summary
    terminal.line(
        f"{span}: {counted(summary.recorded, 'alert')} recorded, {summary.replayed:,} replayed"
        + (f": {verdicts}" if verdicts else "")
    )
    for receiver, messages in replayed.messages.items():
        recorded = counted(messages.recorded, "message")
        terminal.line(f"receiver {receiver}: {recorded} recorded, {messages.replayed:,} replayed")
    times = replayed.time_to_notice
    if times is not None:
        median, longest = (duration(timedelta(seconds=each)) for each in (times.median_s, times.longest_s))
        terminal.line(f"seen before it alerts: {median} in the median, {longest} at most")


def _row(alert: ReplayedAlert) -> tuple[object, ...]:
    shift = alert.apart if alert.verdict in (Verdict.EARLIER, Verdict.LATER) else None
    ended = "firing"
    if alert.resolved_at is not None:
        ended = f"{instant(alert.resolved_at)}, {alert.resolution}"
    numbers = alert.numbers_max if alert.kind.about_numbers else None
    return alert.verdict, alert.opened_at, shift, alert.kind, alert.connection, alert.state, numbers, ended
