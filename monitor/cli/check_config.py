"""`check-config` and `config-schema`: is the config fit for use, what does it mean, what may it hold."""

import asyncio
from typing import Annotated, Any, Literal

import typer

from monitor.cli.against_store import look_ahead, show_preview
from monitor.cli.look import look_once
from monitor.cli.shell import FormatOption, Shell, shell_of
from monitor.cli.sync import FAILED, described, show_looks
from monitor.cli.terminal import Format, Terminal, plain
from monitor.clock import SystemClock
from monitor.config import (
    AccountConfig,
    Config,
    Timing,
    find_config_file,
    format_duration,
    process_environment,
    requests_per_minute,
)
from monitor.config import config_schema as schema
from monitor.daemon.app import rehearsal
from monitor.daemon.preconditions import examine
from monitor.errors import MonitorError
from monitor.http.client import Network


def check_config(
    ctx: typer.Context,
    probe: Annotated[bool, typer.Option("--probe", help="Also sync each connection once.")] = False,
    against_store: Annotated[
        bool, typer.Option("--against-store", help="Also say what a reload would do now to what is open.")
    ] = False,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the name of the option
) -> None:
    """Validate the config, file and environment together, and show what it means.

    It finds what `run` would find, without taking the port or touching the store, so it may run beside the
    daemon; run it as the daemon's user, in its folder. All problems are reported at once, each with its key.
    Values are never shown, least of all secrets. Not checked: whether the port is free, whether another
    daemon has the store open, and whether a PostgreSQL server answers.

    With --against-store it reads the store of this config, also while the daemon runs, and says which alerts
    a reload would end, open, or give another severity or other receivers, and how many drifting numbers it
    would make quiet. It does what a reload does, to a copy in memory; nothing is sent, and nothing changes.
    What the next syncs find is not part of it.

    Exit codes:
      0  the config can be used
      2  the config cannot be used, or, with --against-store, there is no store yet
      3  a probe failed

    Examples:
      voicelink-monitor check-config
      voicelink-monitor check-config --probe
      voicelink-monitor --config new.toml check-config --against-store
      voicelink-monitor --config new.toml check-config --format json
    """
    shell = shell_of(ctx)
    config, network, found = _valid(shell, format)
    would = asyncio.run(look_ahead(config, network, shell)) if against_store else None
    looks = asyncio.run(look_once(config, network, [], shell)) if probe else []
    if format is Format.JSON:
        found |= {"config": config.public(), "accounts": _accounts(config)}
        found |= plain(would) if would is not None else {}
        found |= {"probe": [described(look) for look in looks]} if probe else {}
        shell.terminal.json(found)
    else:
        _show(config, found["file"] or "the environment", shell.terminal)
        if would is not None:
            shell.terminal.line()
            show_preview(would, shell.terminal)
        if probe:
            shell.terminal.line()
            show_looks(looks, shell.terminal)
    if not all(look.checked for look in looks):
        raise typer.Exit(FAILED)


def _valid(shell: Shell, wanted: Format) -> tuple[Config, Network, dict[str, Any]]:
    """Return the config, how others are reached, and what there is to say about the file.

    Raises:
        MonitorError: The config cannot be used; that is said in JSON, too, if it is wanted.
    """
    reading = examine(shell.config_file or find_config_file())
    problems = [*reading.problems, *reading.elsewhere]
    found: dict[str, Any] = {
        "file": reading.source,
        "config_file_digest": reading.file_digest,
        "problems": problems,
        "warnings": reading.warnings,
    }
    for warning in reading.warnings:
        shell.terminal.warning(warning)
    try:
        config = reading.valid()
        network = Network(process_environment())
        asyncio.run(_rehearse(config, network))
    except MonitorError as exc:
        if wanted is Format.JSON:
            shell.terminal.json(found | {"problems": problems or [str(exc)]})
        raise
    return config, network, found


async def _rehearse(config: Config, network: Network) -> None:
    async with rehearsal(config, network):
        pass


def _accounts(config: Config) -> list[dict[str, Any]]:
    now = SystemClock().now()

    def pace(account: AccountConfig) -> float:
        gaps = [config.schedule.timing(each).gaps(now)[0] for each in account.connections]
        return round(requests_per_minute(gaps), 2)

    return [
        {
            "name": account.name,
            "connections": [connection.name for connection in account.connections],
            "discover": account.discover,
            "requests_per_minute": pace(account),
            "budget": account.requests_per_minute,
        }
        for account in config.accounts
    ]


def _show(config: Config, source: str, terminal: Terminal) -> None:
    rows: list[tuple[str, ...]] = []
    for account, about in zip(config.accounts, _accounts(config), strict=True):
        budget = f"{about['requests_per_minute']:g} of {account.requests_per_minute}"
        for connection in account.connections:
            timing = spoken(config.schedule.timing(connection))
            rows.append((account.name, connection.name, timing, budget))
        if account.discover:
            timing = spoken(Timing(interval=config.schedule.interval, cron=config.schedule.cron))
            rows.append((account.name, "(discovered)", timing, f"budget {account.requests_per_minute}"))
    terminal.line(f"{source}: the config is valid", style="green")
    terminal.line()
    terminal.table(("account", "connection", "synced", "requests a minute"), rows)
    terminal.line()
    receivers = [f"{receiver.name} ({receiver.type})" for receiver in config.receivers]
    terminal.line(f"content     {config.file_digest or 'no file'}")
    terminal.line(f"receivers   {', '.join(['log', *receivers])}")
    terminal.line(f"store       {config.store.safe_url}, kept {format_duration(config.store.retention)}")
    terminal.line(f"web         {config.web.listen}{' (https)' if config.web.tls_cert_file else ''}")
    terminal.line(f"rules       {len(config.ignore)} ignore, {len(config.maintenance)} maintenance")


def spoken(timing: Timing) -> str:
    """Return when a connection is synced, in words."""
    if timing.cron is not None:
        return f"{timing.cron} ({timing.timezone})"
    return f"every {format_duration(timing.interval)}"


def config_schema(
    ctx: typer.Context,
    format: Annotated[Literal["json"], typer.Option("--format", help="Always JSON.")] = "json",  # noqa: A002 - the name of the option
) -> None:
    """Print the JSON Schema (2020-12) of the config, for editors and validators. Needs no config.

    Exit codes:
      0  done

    Examples:
      voicelink-monitor config-schema > schema.json
    """
    del format
    shell_of(ctx).terminal.json(schema())
