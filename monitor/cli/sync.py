"""`sync`: look at connections once, now."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from monitor.cli.look import Look, look_once
from monitor.cli.network import network_of
from monitor.cli.shell import FormatOption, config_of, shell_of
from monitor.cli.terminal import Format, Terminal, plain

READY, DRIFT, FAILED = 0, 1, 3
_LISTED = 50
"""Drifting numbers shown of one connection, in tables."""


def sync(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="CONNECTION", help="Names; default: all connections.")
    ] = None,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the name of the option
) -> None:
    """Check all connections, or only those named, once and now.

    Read-only and without a store: nothing is confirmed, alerted or remembered. Every drifting number is
    shown; numbers that an [[ignore]] rule silences are marked and do not affect the exit code. The account's
    request budget applies here too, so many connections of one account take a while.

    Exit codes:
      0  every number is ready or ignored
      1  at least one number drifts
      2  the config cannot be used
      3  at least one connection could not be checked (takes precedence over 1)

    Examples:
      voicelink-monitor sync
      voicelink-monitor sync acme-sales acme-support
      voicelink-monitor sync --format json
    """
    shell = shell_of(ctx)
    looks = asyncio.run(look_once(config_of(shell, secrets=True), network_of(shell), names or [], shell))
    if format is Format.JSON:
        shell.terminal.json([described(look) for look in looks])
    else:
        show_looks(looks, shell.terminal)
        _show_drifting(looks, shell.terminal)
    if not all(look.checked for look in looks):
        raise typer.Exit(FAILED)
    raise typer.Exit(DRIFT if any(look.alarming for look in looks) else READY)


def described(look: Look) -> dict[str, Any]:
    """Return what was found as JSON has it."""
    return {**plain(look), "ready": look.numbers - len(look.drifting)}


def show_looks(looks: Sequence[Look], terminal: Terminal) -> None:
    """Write a line for each connection, and why some could not be checked."""
    rows: list[tuple[Any, ...]] = []
    for look in looks:
        counts: tuple[Any, ...] = (None, None, None)
        if look.checked:
            counts = (look.numbers, look.numbers - len(look.drifting), _by_state(look))
        rows.append((look.connection, *counts, f"{look.duration_s:.2f}s", look.outcome))
    terminal.table(("connection", "numbers", "ready", "drifting", "took", "outcome"), rows)
    for look in looks:
        if look.error is not None:
            terminal.error(f"{look.connection}: {look.error}")
        for warning in look.warnings:
            terminal.note(f"{look.connection}: the provider warns: {warning}")
        if look.skipped:
            terminal.warning(f"{look.connection}: {look.skipped} entries of the answer could not be read")


def _by_state(look: Look) -> str | int:
    counted = Counter(number.state for number in look.drifting)
    ignored = len(look.drifting) - look.alarming
    shown = ", ".join(f"{count} {state}" for state, count in counted.most_common())
    return shown + (f" ({ignored} ignored)" if ignored else "") if shown else 0


def _show_drifting(looks: Sequence[Look], terminal: Terminal) -> None:
    rows = [
        (
            look.connection,
            each.phone_number,
            each.state,
            each.issues,
            each.action,
            "ignored" if each.ignored else "",
        )
        for look in looks
        for each in look.drifting[:_LISTED]
    ]
    if rows:
        terminal.line()
        columns = ("connection", "number", "state", "issues", "what to do", "note")
        terminal.table(columns, rows, spare=("what to do", "issues"))
    for look in looks:
        more = len(look.drifting) - _LISTED
        if more > 0:
            terminal.line(f"{look.connection}: {more} more; use --format json to see all")
