"""Shows what a reload would do now: for `check-config --against-store`."""

from collections.abc import Sequence
from typing import Any

from monitor.cli.shell import Shell, store_of, unseen
from monitor.cli.terminal import Terminal
from monitor.clock import SystemClock
from monitor.config import Config, secrets_of
from monitor.daemon.preview import Alteration, Preview, preview
from monitor.drift.text import counted
from monitor.http.client import Network
from monitor.store.codec import Codec
from monitor.store.connections import watched
from monitor.store.rows import connection_row

_MOST_NAMED = 10


async def look_ahead(config: Config, network: Network, shell: Shell) -> Preview:
    """Return what a reload would do now, and say which connections the store knows no longer as they are.

    Raises:
        StartError: There is no store, or it is of another version.
        StoreUnavailable: It cannot be read.
    """
    clock = SystemClock()
    shell.terminal.redactor.learn(secrets_of(config))
    async with store_of(config) as database:
        async with database.read() as tx:
            rows = [connection_row(each, maintenance=None) for each in await watched(tx, Codec())]
        for line in unseen(rows, clock.now()):
            shell.terminal.note(line)
        return await preview(config, database, network, clock)


def show_preview(would: Preview, terminal: Terminal) -> None:
    """Write what a reload would do, in sentences and tables."""
    said = []
    if would.connections_added:
        said.append(f"It would begin to watch {_some(would.connections_added)}.")
    if would.connections_removed:
        said.append(f"It would no longer watch {_some(would.connections_removed)}.")
    if would.silences_numbers:
        said.append(f"It would make {counted(would.silences_numbers, 'drifting number')} quiet.")
    ends = [(each.alert_id, each.reason, each.severity, each.summary) for each in would.ends]
    opens = [
        (each.severity, each.receivers if each.part_of is None else "(part)", each.summary)
        for each in would.opens
    ]
    changes = [(each.alert_id, *_moves(each), each.summary) for each in would.changes]
    terminal.line("What a reload with this config would do now", style="bold")
    if not (said or ends or opens or changes):
        terminal.line("Nothing that is open would end or change, and nothing would open.")
    for sentence in said:
        terminal.line(sentence)
    _table(terminal, "would end", ("alert", "reason", "severity", "summary"), ends)
    _table(terminal, "would open", ("severity", "receivers", "summary"), opens)
    _table(terminal, "would change", ("alert", "severity", "receivers", "members", "summary"), changes)


def _table(terminal: Terminal, doing: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    if rows:
        terminal.line()
        terminal.line(f"{counted(len(rows), 'alert')} {doing}:")
        terminal.table(columns, rows, spare=("summary",))


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _moves(change: Alteration) -> tuple[str, list[str], list[str]]:
    """Return severity, receivers and members of an alert, as they move."""
    rises = change.severity is not change.severity_before
    receivers = [f"+{name}" for name in change.receivers_added]
    receivers += [f"-{name}" for name in change.receivers_removed]
    members = {"+": change.members_added, "-": change.members_ended}
    return (
        f"{change.severity_before} to {change.severity}" if rises else change.severity,
        receivers,
        [f"{sign}{many:,}" for sign, many in members.items() if many],
    )
