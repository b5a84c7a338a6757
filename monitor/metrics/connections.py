"""The per-connection metrics, rendered here because there are tens of thousands of them.

prometheus-client takes 126 ms to render 20,000 series, all in one go. Here a connection's lines are kept as
bytes, one piece for each family, and rendered again only once they changed; a scrape joins them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

import msgspec

from monitor.drift.snapshot import ChangeKind, Counts
from monitor.errors import Outcome
from monitor.metrics.exposition import Family, escape


class ConnectionView(msgspec.Struct, frozen=True, kw_only=True):
    """What the gauges and the overview show of one connection.

    `connection_id` is None if the account's only connection is configured without id; `counts` is None
    before the first applied snapshot, `up` before the first sync. `numbers` are (phone_number, state), empty
    unless the user opted in. `interval_s` (of a cron, the longest) and `last_duration_s` are in seconds.
    `maintenance_until` is when the last of the open windows ends.
    """

    identity: str
    name: str
    account: str
    connection_id: str | None
    interval_s: float
    counts: Counts | None
    up: bool | None
    held: bool
    consecutive_failures: int
    last_success_at: datetime | None
    last_duration_s: float | None
    maintenance: bool
    maintenance_until: datetime | None = None
    numbers: tuple[tuple[str, str], ...] = ()


class _Series:
    """A connection's view and counters, with their rendered lines; None if they are to be rendered again."""

    __slots__ = (
        "_changes",
        "_lines",
        "_stable",
        "changes",
        "connection",
        "number_limit",
        "number_lines",
        "syncs",
        "view",
    )

    view: ConnectionView
    _lines: tuple[bytes, ...] | None
    _stable: tuple[bytes, ...] | None
    _changes: bytes | None

    def __init__(self, view: ConnectionView) -> None:
        self.syncs: dict[str, int] = {Outcome.OK: 0}
        self.changes: dict[str, int] = dict.fromkeys(ChangeKind, 0)
        self._take(view)

    def apply(self, view: ConnectionView) -> None:
        """Take a new view; unless its snapshot, names or numbers differ, most lines stay as they are."""
        before = self.view
        if (
            view.counts is before.counts
            and view.name == before.name
            and view.account == before.account
            and view.connection_id == before.connection_id
            and view.numbers == before.numbers
        ):
            self.view = view
            self._lines = None
        else:
            self._take(view)

    def _take(self, view: ConnectionView) -> None:
        self.view = view
        self.connection = escape(view.name)
        self._lines = self._stable = self._changes = None
        self.number_lines = b""
        self.number_limit = -1

    def count_sync(self, outcome: Outcome) -> None:
        """Count a sync."""
        self.syncs[outcome] = self.syncs.get(outcome, 0) + 1
        self._lines = None

    def count_change(self, kind: ChangeKind, n: int) -> None:
        """Count changes."""
        self.changes[kind] += n
        self._lines = self._changes = None

    @property
    def is_rendered(self) -> bool:
        """Whether `lines` has nothing to render."""
        return self._lines is not None

    def lines(self) -> tuple[bytes, ...]:
        """Return the lines of each of `_FAMILIES`."""
        if self._lines is None:
            if self._stable is None:
                self._stable = self._render(_STABLE)
            if self._changes is None:
                self._changes = _labelled(CHANGES, self.connection, "change", self.changes)
            syncs = _labelled(SYNCS, self.connection, "outcome", self.syncs)
            self._lines = (syncs, self._changes, *self._render(_VOLATILE), *self._stable)
        return self._lines

    def _render(self, families: Sequence[tuple[Family, "_Lines"]]) -> tuple[bytes, ...]:
        return tuple([lines(self.connection, self.view) for _, lines in families])

    def render_numbers(self, limit: int) -> bytes:
        """Return the lines of up to `limit` numbers, rendered again only if they or the limit changed."""
        limit = min(limit, len(self.view.numbers))
        if limit != self.number_limit:
            head = f'{NUMBER_STATE.name}{{connection="{self.connection}",phone_number="'
            self.number_lines = _encode(
                "".join(
                    f'{head}{escape(phone_number)}",state="{escape(state)}"}} 1\n'
                    for phone_number, state in self.view.numbers[:limit]
                )
            )
            self.number_limit = limit
        return self.number_lines


class ConnectionFamilies:
    """The per-connection metrics of all connections.

    Args:
        max_number_series: How many series `voicelink_number_state` may have in total.
    """

    def __init__(self, *, max_number_series: int) -> None:
        self.max_number_series = max_number_series
        self.hidden: Callable[[], bool] = lambda: False
        self._series: dict[str, _Series] = {}
        self._identities: dict[str, str] = {}  # by name

    def __len__(self) -> int:
        return len(self._series)

    @property
    def dropped_numbers(self) -> int:
        """How many numbers have no series of their own because the total is capped."""
        total = sum(len(series.view.numbers) for series in self._series.values())
        return max(0, total - self.max_number_series)

    def set(self, view: ConnectionView) -> None:
        """Show a connection this way. A name belongs to the identity that claimed it last."""
        holder = self._identities.get(view.name)
        if holder != view.identity:
            self._claim(view, holder)
        series = self._series.get(view.identity)
        if series is None:
            self._series[view.identity] = _Series(view)
        else:
            series.apply(view)

    def _claim(self, view: ConnectionView, holder: str | None) -> None:
        # A connection that was given an id in the config is a new identity under the old name: both at once
        # would be the same series twice, and Prometheus would drop samples.
        if holder is not None:
            self.remove(holder)
        renamed = self._series.get(view.identity)
        if renamed is not None:
            self._identities.pop(renamed.view.name, None)
        self._identities[view.name] = view.identity

    def remove(self, identity: str) -> None:
        """Forget a connection, its counters included."""
        series = self._series.pop(identity, None)
        if series is not None:
            self._identities.pop(series.view.name, None)

    def count_sync(self, identity: str, outcome: Outcome) -> None:
        """Count a sync; one that ends after its connection was removed is not counted."""
        series = self._series.get(identity)
        if series is not None:
            series.count_sync(outcome)

    def count_change(self, identity: str, kind: ChangeKind, n: int) -> None:
        """Count changes; those of a removed connection are not counted."""
        series = self._series.get(identity)
        if series is not None:
            series.count_change(kind, n)

    def prepare(self) -> Iterator[None]:
        """Render what changed since the last scrape, at the first one all; yield after each connection."""
        for series in list(self._series.values()):
            if not series.is_rendered:
                series.lines()
                yield

    def render(self) -> Iterator[tuple[Family, bytes]]:
        """Yield each family with its lines, all as they are at the first one."""
        every = list(self._series.values())
        shown = _COUNTERS if self.hidden() else _FAMILIES
        rows, numbers = [series.lines() for series in every], self._numbers(every)
        for place, family in enumerate(shown):
            yield family, b"".join([lines[place] for lines in rows])
        if shown is _FAMILIES:
            yield NUMBER_STATE, b"".join(numbers)

    def _numbers(self, every: Sequence[_Series]) -> list[bytes]:
        """Return the lines of as many numbers as may have some."""
        left, numbers = self.max_number_series, []
        for series in every:
            if series.view.numbers:
                numbers.append(series.render_numbers(left))
                left -= series.number_limit
        return numbers


def _encode(lines: str) -> bytes:
    # A lone surrogate in a name must not cost the whole scrape.
    return lines.encode(errors="replace")


def _labelled(family: Family, connection: str, label: str, values: Mapping[str, int]) -> bytes:
    head = f'{family.name}{{connection="{connection}",{label}="'
    return _encode("".join([f'{head}{escape(value)}"}} {count}\n' for value, count in values.items()]))


_Lines = Callable[[str, ConnectionView], bytes]
"""Writes a family's lines for a connection, whose name is escaped already."""


def _of_view(family: Family, read: Callable[[ConnectionView], float | None]) -> tuple[Family, _Lines]:
    head = f'{family.name}{{connection="'

    def line(connection: str, view: ConnectionView) -> bytes:
        value = read(view)
        return b"" if value is None else _encode(f'{head}{connection}"}} {value}\n')

    return family, line


def _of_counts(family: Family, read: Callable[[Counts], int]) -> tuple[Family, _Lines]:
    return _of_view(family, lambda view: None if view.counts is None else read(view.counts))


def _of_labels(
    family: Family, label: str, read: Callable[[Counts], Mapping[str, int]]
) -> tuple[Family, _Lines]:
    def lines(connection: str, view: ConnectionView) -> bytes:
        return b"" if view.counts is None else _labelled(family, connection, label, read(view.counts))

    return family, lines


def _info(connection: str, view: ConnectionView) -> bytes:
    account, connection_id = escape(view.account), escape(view.connection_id or "")
    labels = f'connection="{connection}",account="{account}",connection_id="{connection_id}"'
    return _encode(f"{INFO.name}{{{labels}}} 1\n")


SYNCS = Family(
    "voicelink_syncs_total",
    "counter",
    "Syncs of the connection that this process ran, by outcome.",
)
CHANGES = Family(
    "voicelink_changes_total",
    "counter",
    "Changes between two snapshots that this process found, by kind.",
)
INFO = Family(
    "voicelink_connection_info",
    "gauge",
    "Always 1; joins a connection to its account and its id at the provider.",
)
NUMBER_STATE = Family(
    "voicelink_number_state",
    "gauge",
    "Always 1; the state of one phone number in the last applied snapshot (only if metrics.numbers is on).",
)

_STABLE = (
    _of_labels(
        Family("voicelink_numbers", "gauge", "Phone numbers in the last applied snapshot, by state."),
        "state",
        lambda counts: counts.states,
    ),
    _of_labels(
        Family(
            "voicelink_drift_numbers",
            "gauge",
            "Drifting phone numbers in the last applied snapshot, by state.",
        ),
        "state",
        lambda counts: counts.drifting,
    ),
    _of_labels(
        Family("voicelink_issue_numbers", "gauge", "Drifting phone numbers that have the issue."),
        "issue",
        lambda counts: counts.issues,
    ),
    _of_labels(
        Family(
            "voicelink_ignored_numbers",
            "gauge",
            "Drifting phone numbers that an ignore rule or a silence keeps quiet, by state.",
        ),
        "state",
        lambda counts: counts.ignored,
    ),
    _of_labels(
        Family("voicelink_inventory", "gauge", "Entries in each part of the last applied answer."),
        "kind",
        lambda counts: counts.inventory,
    ),
    _of_counts(
        Family("voicelink_sync_warnings", "gauge", "Warnings in the last applied answer."),
        lambda counts: counts.warnings,
    ),
    _of_counts(
        Family(
            "voicelink_sync_skipped_entries",
            "gauge",
            "Entries of the last applied answer that could not be read.",
        ),
        lambda counts: counts.skipped,
    ),
    _of_counts(
        Family(
            "voicelink_monitor_states_folded",
            "gauge",
            "States and issue codes beyond the limit of 50 each, counted and grouped as OTHER.",
        ),
        lambda counts: counts.folded,
    ),
    (INFO, _info),
)

_VOLATILE = (
    _of_view(
        Family("voicelink_up", "gauge", "Whether the last sync of the connection was answered."),
        lambda view: None if view.up is None else int(view.up),
    ),
    _of_view(
        Family("voicelink_sync_held", "gauge", "Whether an implausible answer is being held back."),
        lambda view: int(view.held),
    ),
    _of_view(
        Family("voicelink_sync_consecutive_failures", "gauge", "Failed syncs in a row."),
        lambda view: view.consecutive_failures,
    ),
    _of_view(
        Family(
            "voicelink_sync_last_success_timestamp_seconds",
            "gauge",
            "When a snapshot of the connection was last applied or found unchanged; 0 before the first.",
        ),
        lambda view: 0 if view.last_success_at is None else view.last_success_at.timestamp(),
    ),
    _of_view(
        Family("voicelink_sync_last_duration_seconds", "gauge", "How long the last sync took."),
        lambda view: view.last_duration_s,
    ),
    _of_view(
        Family(
            "voicelink_sync_interval_seconds",
            "gauge",
            "Planned time between two syncs of the connection; of a cron, the longest.",
        ),
        lambda view: view.interval_s,
    ),
    _of_view(
        Family("voicelink_maintenance", "gauge", "Whether the connection is in a maintenance window."),
        lambda view: int(view.maintenance),
    ),
)

_COUNTERS = (SYNCS, CHANGES)
_FAMILIES = (*_COUNTERS, *(family for family, _ in (*_VOLATILE, *_STABLE)))
"""All but that of the numbers, in the order of a page."""
