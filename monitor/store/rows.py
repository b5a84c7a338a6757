"""Rows that queries return; the same for the commands, the JSON API and the pages."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from monitor.drift.alert import GONE, Kind
from monitor.drift.episodes import Track, silenced_as, silent
from monitor.drift.naming import Value, moved
from monitor.drift.rules import Ignore, Rules
from monitor.drift.silences import in_words
from monitor.drift.snapshot import Counts, Number
from monitor.errors import Outcome
from monitor.store.actions import Action
from monitor.store.connections import ConnectionName, ConnectionState


class ProblemStatus(StrEnum):
    """Where a trouble stands.

    `pending`: not confirmed yet, or in a maintenance window. `alerting`: in a firing alert. `ending`: in a
    firing alert, but good again for now. `ignored`: a rule of the config keeps it quiet; `silenced`: a
    silence does.
    """

    PENDING = "pending"
    ALERTING = "alerting"
    ENDING = "ending"
    IGNORED = "ignored"
    SILENCED = "silenced"

    @property
    def quiet(self) -> bool:
        """Whether a rule or a silence keeps the trouble from alerting."""
        return self in (ProblemStatus.IGNORED, ProblemStatus.SILENCED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One number in trouble: it drifts, or its removal or reconfiguration may alert.

    `action` is the first thing to do about the drift, in the provider's words. `since` is when a sync first
    saw it this way. A number that is gone from the inventory has the state `GONE`, whatever it was before,
    and no `action`: its alert says what to do.
    """

    connection: str
    account: str
    kind: Kind
    key: str
    phone_number: str
    state: str
    previous_state: str | None
    issues: tuple[str, ...]
    action: str | None
    status: ProblemStatus
    since: datetime
    flaps: int
    alert_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberRow:
    """One number of the applied snapshot."""

    connection: str
    account: str
    key: str
    phone_number: str
    state: str
    drifting: bool
    issues: tuple[str, ...]
    action_items: tuple[dict[str, str], ...]
    did_id: int | str | None
    client_id: int | str | None
    bot_id: int | str | None
    agent_id: int | str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRow:
    """One recorded difference between two snapshots.

    `depended_on` and `depends_on` hold what the number depended on and depends on, as far as the two differ.
    """

    id: int
    at: datetime
    connection: str
    account: str
    change: str
    key: str
    phone_number: str
    state: str | None
    previous_state: str | None
    issues: list[str]
    previous_issues: list[str]
    action_items: list[dict[str, str]]
    did_id: int | str | None
    client_id: int | str | None
    depended_on: dict[str, Value]
    depends_on: dict[str, Value]
    sync_id: str

    @property
    def moved(self) -> str:
        """What the number lost, gained or had switched off, in words."""
        return moved(self.depended_on, self.depends_on)


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """The same difference in `many` numbers of a connection, found by one sync.

    `members` are keys and phone numbers, the first of them; `moved` says what all of them lost, gained or had
    switched off alike. `id` is that of the last change.
    """

    id: int
    at: datetime
    sync_id: str
    connection: str
    change: str
    state: str | None
    previous_state: str | None
    many: int
    members: tuple[tuple[str, str], ...]
    moved: str
    action: str | None

    @property
    def alike(self) -> tuple[datetime, str, str, str, str | None, str | None]:
        """What its changes have in common."""
        return self.at, self.sync_id, self.connection, self.change, self.state, self.previous_state


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionRow:
    """Something that the monitor did because a person asked for it.

    `user` is null where no password was needed, and for a signal. `address` is the client's, or says that it
    was a `command` or a `signal`. `target` is what it was done to: a connection, a delivery, the config.
    """

    id: int
    at: datetime
    action: Action
    user: str | None
    address: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceRow:
    """One silence: what it matches, until when, why, and who set and ended it.

    What it does not go by is null; `connection` and `number` are globs, `alert` stands for the members that
    it had. `until` is null where it lasts until its numbers are ready, `ended_by` where it ended by itself.
    `numbers` is how many numbers in trouble it keeps quiet now. `notes` says whether it matches nothing, or
    ends within a day.
    """

    id: str
    connection: str | None
    number: str | None
    state: str | None
    issue: str | None
    alert: str | None
    until: datetime | None
    until_ready: bool
    reason: str
    by: str | None
    created_at: datetime
    ended_at: datetime | None
    ended_by: str | None
    numbers: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def matchers(self) -> str:
        """What it matches, in words."""
        rule = Ignore(
            connection=self.connection or "*",
            number=self.number or "*",
            state=self.state,
            issue=self.issue,
        )
        return in_words(rule, self.alert)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietNotice:
    """Something to know about an ignore rule of the config or a silence: that it matches nothing, ends soon.

    `id` is the silence's, null for a rule. `matchers` says what it matches, `note` what there is to know.
    """

    id: str | None
    matchers: str
    reason: str
    until: datetime | None
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRow:
    """One message for one receiver; `summary`, `kind` and `connections` are those of its alert.

    `gone_since`: it is pending, but its receiver answered 410 Gone then, so that none is tried until a reload
    or `--retry-now`.
    """

    id: str
    receiver: str
    alert_id: str
    change: str
    version: int
    status: str
    kind: str
    connections: list[str]
    summary: str
    attempts: int
    created_at: datetime
    due_at: datetime
    first_failed_at: datetime | None
    finished_at: datetime | None
    answer: str | None
    gone_since: datetime | None = None


class SyncStatus(StrEnum):
    """How the syncs of a connection are going.

    `waiting`: the first one has not ended. `held`: the last answer is implausible and not applied yet.
    """

    WAITING = "waiting"
    OK = "ok"
    HELD = "held"
    FAILING = "failing"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionRow:
    """One connection: what its applied snapshot holds, and how its syncs are going.

    Counts are None before the first applied snapshot. `states` counts all numbers, `drifting_states` and
    `issues` the drifting ones. `held` is how many implausible answers came in a row. `vanished`: discovery no
    longer lists it. `maintenance`: a window is open, or None if this process does not watch it.
    """

    name: str
    account: str
    connection_id: str | None
    status: SyncStatus
    numbers: int | None
    drifting: int | None
    ignored: int | None
    states: dict[str, int]
    drifting_states: dict[str, int]
    issues: dict[str, int]
    inventory: dict[str, int]
    warnings: int
    skipped: int
    outcome: Outcome | None
    consecutive_failures: int
    held: int
    held_reason: str | None
    vanished: bool
    maintenance: bool | None
    watched_since: datetime
    last_sync: datetime | None
    last_success: datetime | None
    last_duration_s: float | None
    next_sync: datetime
    error: str | None


def sync_status(outcome: str | None, failures: int, held: int) -> SyncStatus:
    """Return how the syncs of a connection are going, by how the last ones ended."""
    if outcome is None:
        return SyncStatus.WAITING
    if failures:
        return SyncStatus.FAILING
    return SyncStatus.HELD if held else SyncStatus.OK


def connection_row(standing: ConnectionState, *, maintenance: bool | None) -> ConnectionRow:
    """Return the row of a connection."""
    counts = standing.counts
    shown = counts or Counts()
    return ConnectionRow(
        name=standing.name,
        account=standing.account,
        connection_id=standing.connection_id,
        status=sync_status(standing.streak.outcome, standing.streak.failures, standing.held),
        numbers=counts.total if counts else None,
        drifting=counts.total_drifting if counts else None,
        ignored=counts.total_ignored if counts else None,
        states=shown.states,
        drifting_states=shown.drifting,
        issues=shown.issues,
        inventory=shown.inventory,
        warnings=shown.warnings,
        skipped=shown.skipped,
        outcome=standing.streak.outcome,
        consecutive_failures=standing.streak.failures,
        held=standing.held,
        held_reason=standing.held_reason,
        vanished=standing.vanished_at is not None,
        maintenance=maintenance,
        watched_since=standing.watched_since,
        last_sync=standing.synced_at,
        last_success=standing.succeeded_at,
        last_duration_s=standing.duration_s,
        next_sync=standing.due_at,
        error=standing.error,
    )


UNSEEN_AFTER = timedelta(minutes=5)
"""A sync that is overdue for so long is not coming: whoever should make it is down, or stuck."""


def unknown_since(row: ConnectionRow, now: datetime) -> datetime | None:
    """Return since when a connection's numbers are unknown: no answer was applied, or none is asked for."""
    if row.status in (SyncStatus.FAILING, SyncStatus.HELD) or now - row.next_sync > UNSEEN_AFTER:
        return row.last_success or row.watched_since
    return None


def trouble_row(whose: ConnectionName, track: Track, number: Number, rules: Rules, now: datetime) -> Problem:
    """Return the row of a number's track."""
    episode = track.episode
    if silent(track, rules, now):
        status = ProblemStatus(silenced_as(track, rules, now))
    elif episode is None:
        status = ProblemStatus.PENDING
    else:
        status = ProblemStatus.ENDING if track.good or track.gone else ProblemStatus.ALERTING
    gone = track.kind is Kind.NUMBER_REMOVED and track.back is None
    return Problem(
        connection=whose.name,
        account=whose.account,
        kind=track.kind,
        key=track.key,
        phone_number=number.phone_number,
        state=GONE if gone else number.state,
        previous_state=number.state if gone else track.previous_state,
        issues=number.issues,
        action=None if gone else first_action(number),
        status=status,
        since=track.since,
        flaps=episode.flaps if episode else 0,
        alert_id=episode.alert_id if episode else None,
    )


def first_action(number: Number) -> str | None:
    """Return the first thing to do about a number, in the provider's words."""
    return next((item.label or item.code for item in number.action_items), None)


def number_row(whose: ConnectionName, number: Number) -> NumberRow:
    """Return the row of a number."""
    return NumberRow(
        connection=whose.name,
        account=whose.account,
        key=number.key,
        phone_number=number.phone_number,
        state=number.state,
        drifting=number.drifting,
        issues=number.issues,
        action_items=tuple({"code": item.code, "label": item.label} for item in number.action_items),
        did_id=number.did_id,
        client_id=number.dependencies.client_id,
        bot_id=number.dependencies.bot_id,
        agent_id=number.dependencies.agent_id,
    )
