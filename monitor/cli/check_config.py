"""`check-config`: is the config fit for use, and what does it mean."""

import asyncio
from typing import Annotated, Any

import typer

from monitor.cli.options import FormatOption
from monitor.cli.shell import config_of, shell_of
from monitor.cli.sync import FAILED, described, look_once, show_looks
from monitor.cli.terminal import Format, Terminal
from monitor.clock import SystemClock
from monitor.config import (
    AccountConfig,
    Config,
    Timing,
    find_config_file,
    format_duration,
    requests_per_minute,
)


def check_config(
    ctx: typer.Context,
    probe: Annotated[bool, typer.Option("--probe", help="Also sync each connection once.")] = False,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the name of the option
) -> None:
    """Validate the config, file and environment together, and show what it means.

    Every problem is told at once, each with its key; no value is ever shown, least of all a secret.
    """
    shell = shell_of(ctx)
    config = config_of(shell)
    file = shell.config_file or find_config_file()
    looks = asyncio.run(look_once(config, [], shell)) if probe else None
    if format is Format.JSON:
        found: dict[str, Any] = {
            "file": str(file) if file else None,
            "config": config.public(),
            "warnings": config.warnings,
            "accounts": [_account(config, account) for account in config.accounts],
        }
        if looks is not None:
            found["probe"] = [described(look) for look in looks]
        shell.terminal.json(found)
    else:
        _show(config, str(file or "the environment alone"), shell.terminal)
        if looks is not None:
            shell.terminal.line()
            show_looks(looks, shell.terminal)
    if looks is not None and not all(look.checked for look in looks):
        raise typer.Exit(FAILED)


def _show(config: Config, source: str, terminal: Terminal) -> None:
    terminal.line(f"{source}: the config can be used", style="green")
    terminal.line()
    terminal.table(
        ("account", "connection", "synced", "requests a minute"),
        [row for account in config.accounts for row in _account_rows(config, account)],
    )
    terminal.line()
    receivers = [f"{receiver.name} ({receiver.type})" for receiver in config.receivers]
    terminal.line(f"receivers   {', '.join(['log', *receivers])}")
    terminal.line(f"store       {config.store.safe_url}, kept {format_duration(config.store.retention)}")
    terminal.line(f"web         {config.web.listen}{' (https)' if config.web.tls_cert_file else ''}")
    terminal.line(f"rules       {len(config.ignore)} ignore, {len(config.maintenance)} maintenance")


def _account_rows(config: Config, account: AccountConfig) -> list[tuple[Any, ...]]:
    about = _account(config, account)
    budget = f"{about['requests_per_minute']:g} of {account.requests_per_minute}"
    rows: list[tuple[Any, ...]] = [
        (account.name, connection.name, spoken(config.schedule.timing(connection)), budget)
        for connection in account.connections
    ]
    if account.discover:
        every = spoken(Timing(interval=config.schedule.interval, cron=config.schedule.cron))
        rows.append((account.name, "(discovered)", every, f"budget {account.requests_per_minute}"))
    return rows


def _account(config: Config, account: AccountConfig) -> dict[str, Any]:
    now = SystemClock().now()
    timings = [config.schedule.timing(connection) for connection in account.connections]
    return {
        "name": account.name,
        "connections": [connection.name for connection in account.connections],
        "discover": account.discover,
        "requests_per_minute": round(requests_per_minute([each.gaps(now)[0] for each in timings]), 2),
        "budget": account.requests_per_minute,
    }


def spoken(timing: Timing) -> str:
    """Return when a connection is synced, in words."""
    if timing.cron is not None:
        return f"{timing.cron} ({timing.timezone})"
    return f"every {format_duration(timing.interval)}"
