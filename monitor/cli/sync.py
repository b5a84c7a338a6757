"""`sync`: look at connections once, now."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from monitor.cli.look import Drifting, Look
from monitor.cli.options import FormatOption
from monitor.cli.shell import Shell, config_of, shell_of
from monitor.cli.targets import looker
from monitor.cli.terminal import Format, Terminal, plain
from monitor.clock import SystemClock
from monitor.config import Config

READY, DRIFT, FAILED = 0, 1, 3
_LISTED = 50
"""Drifting numbers shown of one connection, in tables."""


def sync(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="CONNECTION", help="Names; all of them without.")
    ] = None,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the name of the option
) -> None:
    """Check every connection, or those named, once and now.

    Read-only, and without a store: nothing is confirmed, alerted or remembered. Every drifting number is
    shown; one that an [[ignore]] rule silences is marked, and does not count for the exit code. The account's
    request budget holds here too, so many connections of one account take a while.
    """
    shell = shell_of(ctx)
    looks = asyncio.run(look_once(config_of(shell), names or [], shell))
    if format is Format.JSON:
        shell.terminal.json([described(look) for look in looks])
    else:
        show_looks(looks, shell.terminal)
        show_drifting(looks, shell.terminal)
    raise typer.Exit(exit_code(looks))


async def look_once(config: Config, names: Sequence[str], shell: Shell) -> list[Look]:
    """Return what a look at these connections, or all, finds; show a bar meanwhile."""
    async with looker(config, SystemClock()) as looking:
        found = await looking.find(names)
        with shell.terminal.progress("checking", len(found.targets)) as advance:
            return [*await looking.look(found.targets, advance), *found.failed]


def exit_code(looks: Sequence[Look]) -> int:
    """Return 3 if something could not be checked, else 1 if something drifts, else 0."""
    if not all(look.checked for look in looks):
        return FAILED
    return DRIFT if any(look.alarming for look in looks) else READY


def described(look: Look) -> dict[str, Any]:
    """Return what was found as JSON has it."""
    return {**plain(look), "ready": look.numbers - len(look.drifting)}


def show_looks(looks: Sequence[Look], terminal: Terminal) -> None:
    """Write a line for each connection, and why some could not be checked."""
    columns = ("connection", "numbers", "ready", "drifting", "took", "outcome")
    terminal.table(columns, [_row(look) for look in looks])
    for look in looks:
        if look.error is not None:
            terminal.error(f"{look.connection}: {look.error}")
        for warning in look.warnings:
            terminal.note(f"{look.connection}: the provider warns: {warning}")
        if look.skipped:
            terminal.warning(f"{look.connection}: {look.skipped} entries of the answer could not be read")


def show_drifting(looks: Sequence[Look], terminal: Terminal) -> None:
    """Write the drifting numbers, at most so many of each connection."""
    rows = [(look.connection, *_number(number)) for look in looks for number in look.drifting[:_LISTED]]
    if rows:
        terminal.line()
        terminal.table(("connection", "number", "state", "issues", "do first", ""), rows)
    for look in looks:
        if len(look.drifting) > _LISTED:
            terminal.line(
                f"{look.connection}: and {len(look.drifting) - _LISTED} more; --format json has all"
            )


def _row(look: Look) -> tuple[Any, ...]:
    took = f"{look.duration_s:.2f}s"
    if not look.checked:
        return look.connection, None, None, None, took, look.outcome
    ready = look.numbers - len(look.drifting)
    return look.connection, look.numbers, ready, _by_state(look), took, look.outcome


def _by_state(look: Look) -> str | int:
    counted = Counter(number.state for number in look.drifting)
    ignored = len(look.drifting) - look.alarming
    parts = [f"{count} {state}" for state, count in counted.most_common()]
    return ", ".join(parts) + (f" ({ignored} ignored)" if ignored else "") if parts else 0


def _number(number: Drifting) -> tuple[Any, ...]:
    mark = "ignored" if number.ignored else ""
    return number.phone_number, number.state, number.issues, number.action, mark
