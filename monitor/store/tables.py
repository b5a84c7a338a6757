"""The tables, the same for SQLite and PostgreSQL.

A connection's snapshot with its streaks is one compressed blob (`snapshots.records`), apart from the row that
every sync updates. What users query has rows of its own: changes, episodes, alerts, deliveries.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    Dialect,
    Float,
    FromClause,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    Table,
    Text,
    TypeDecorator,
    literal_column,
)
from sqlalchemy.types import TypeEngine

from monitor.store.packing import pack, unpack

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class UtcDateTime(TypeDecorator[datetime]):
    """An instant, aware and in UTC; on SQLite, which has no type for it, the microseconds since 1970."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the type that the database has for it."""
        return dialect.type_descriptor(BigInteger() if dialect.name == "sqlite" else self.impl_instance)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Convert to UTC, refusing naive instants."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("the store takes aware instants only")
        return (value - _EPOCH) // _MICROSECOND if dialect.name == "sqlite" else value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Restore the instant."""
        if value is None:
            return None
        # PostgreSQL answers in the zone of its session.
        at: datetime = _EPOCH + value * _MICROSECOND if dialect.name == "sqlite" else value.astimezone(UTC)
        return at


class Json(TypeDecorator[Any]):
    """A JSON value, kept as text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: object, _dialect: Dialect) -> str:
        """Encode it; None is `null`."""
        return msgspec.json.encode(value).decode()

    def process_result_value(self, value: str | None, _dialect: Dialect) -> Any:
        """Decode it; NULL is None too."""
        return msgspec.json.decode(value) if value else None


class Packed(TypeDecorator[bytes]):
    """An alert body."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: bytes | None, _dialect: Dialect) -> bytes | None:
        """Pack it."""
        return pack(value) if value is not None else None

    def process_result_value(self, value: bytes | None, _dialect: Dialect) -> bytes | None:
        """Unpack it."""
        return unpack(value) if value is not None else None


T = TypeVar("T")


def from_row(kind: type[T], row: Row[*tuple[Any, ...]], /, **given: object) -> T:
    """Return a dataclass filled from the columns named like its fields.

    Args:
        kind: The dataclass.
        row: A row that has a column for each field that is not given.
        given: Fields that are not as the database has them.

    Raises:
        msgspec.ValidationError: A column holds what its field cannot.
    """
    columns = {name: getattr(row, name) for name in kind.__annotations__ if name not in given}
    return msgspec.convert(columns | given, kind)


metadata = MetaData()

# SQLite numbers rows automatically only in a column of type INTEGER.
_RowId = BigInteger().with_variant(Integer(), "sqlite")

connections = Table(
    "connections",
    metadata,
    Column("identity", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("connection_id", Text),
    Column("watched_since", UtcDateTime, nullable=False),
    Column("vanished_at", UtcDateTime),
    # The schedule and the lease.
    Column("due_at", UtcDateTime, nullable=False),
    Column("wakes_at", UtcDateTime),
    Column("lease_until", UtcDateTime),
    Column("holder", Text),
    Column("epoch", BigInteger, nullable=False, default=0),
    # The rules that its policy last ran with; None: it has to run.
    Column("rules_digest", Text),
    # The applied answer.
    Column("digest", Text),
    Column("settled", Boolean, nullable=False, default=True),
    # How many answers since its last entry in the journal changed nothing.
    Column("unchanged", Integer, nullable=False, default=0),
    Column("held", Integer, nullable=False, default=0),
    Column("held_reason", Text),
    Column("applied_at", UtcDateTime),
    Column("counts", LargeBinary),
    # How the last sync went.
    Column("outcome", Text),
    Column("failures", Integer, nullable=False, default=0),
    Column("same_kind", Integer, nullable=False, default=0),
    Column("answers", Integer, nullable=False, default=0),
    Column("error", Text),
    Column("synced_at", UtcDateTime),
    Column("succeeded_at", UtcDateTime),
    Column("duration_s", Float),
    # When a sync or a step last wrote this row: other replicas follow what moved.
    Column("moved_at", UtcDateTime),
    Index("connections_due", "due_at"),
    Index("connections_leased", "lease_until"),
    Index("connections_wakes", "wakes_at"),
    Index("connections_name", "name"),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("identity", Text, primary_key=True),
    Column("records", LargeBinary, nullable=False),
)

# Which connection has a number: a row for each number of each snapshot, and for each that is gone since.
# `tail` is the key backwards, to find it by its last digits.
_Digits = Text().with_variant(Text(collation="C"), "postgresql")

inventory = Table(
    "inventory",
    metadata,
    Column("key", Text, primary_key=True),
    Column("identity", Text, primary_key=True),
    Column("phone_number", Text, nullable=False),
    Column("tail", _Digits, nullable=False),
    Column("gone_at", UtcDateTime),
    Index("inventory_tail", "tail"),
    Index("inventory_identity", "identity"),
    Index("inventory_gone", "gone_at"),
)

# What many changes of a connection have in common: how a number was, and how it is. There are few of these,
# however many changes there are, so that whatever changes are looked for by is looked for here.
patterns = Table(
    "patterns",
    metadata,
    # Made of all that follows, down to the action items.
    Column("id", _RowId, primary_key=True, autoincrement=False),
    Column("identity", Text, nullable=False),
    Column("connection", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("change", Text, nullable=False),
    Column("state", Text),
    Column("previous_state", Text),
    # Of a number that was there before: whether it was drifting.
    Column("was_drifting", Boolean, nullable=False, default=False),
    Column("issues", Json, nullable=False),
    Column("previous_issues", Json, nullable=False),
    Column("action_items", Json, nullable=False),
    # The states and issues, before and after, in lower case.
    Column("words", Json, nullable=False),
    # At most two days before the last change of this pattern.
    Column("used_at", UtcDateTime, nullable=False),
    Index("patterns_identity", "identity"),
    Index("patterns_connection", "connection"),
)

changes = Table(
    "changes",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("pattern", BigInteger, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    # Of the sync that found it.
    Column("epoch", BigInteger, nullable=False),
    Column("key", Text, nullable=False),
    # Only where it is not a plus and the key.
    Column("phone_number", Text),
    Column("did_id", Json),
    Column("client_id", Json),
    # By name, what the number depended on and depends on now, where the two differ.
    Column("moved", Json, nullable=False),
    Index("changes_at", "at"),
    Index("changes_pattern", "pattern", "at"),
    Index("changes_key", "key", "id"),
)

# When a connection could not be seen: from the last applied answer to the next one.
gaps = Table(
    "gaps",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("identity", Text, nullable=False),
    Column("began_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime, nullable=False),
    Index("gaps_identity", "identity", "ended_at"),
    Index("gaps_ended", "ended_at"),
)

# What policy was given, step by step; see `store/journal.py`. Of looks at failures, the identity is theirs.
journal = Table(
    "journal",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("identity", Text, nullable=False),
    Column("connection", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("kind", Text, nullable=False),
    Column("ruleset", BigInteger),
    # Answers since the entry before that changed nothing, and the instant of the last one. Of a look at
    # failures, since when connections have been watched without a break.
    Column("unchanged", Integer, nullable=False, default=0),
    Column("seen_until", UtcDateTime),
    Column("body", LargeBinary, nullable=False, default=b""),
    Index("journal_identity", "identity", "kind", "id"),
    Index("journal_at", "at"),
    Index("journal_ruleset", "ruleset"),
)

# Each distinct set of rules once.
rulesets = Table(
    "rulesets",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
    # At most two days before it was last used.
    Column("used_at", UtcDateTime, nullable=False),
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("scope", Text, nullable=False),
    # The cause; a widespread alert and its parts share it. The state is empty where the kind has none.
    Column("account", Text),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False, default=""),
    Column("status", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("resolved_at", UtcDateTime),
    Column("resolution", Text),
    # The name of the connection; of an alert about others, all names. How many numbers it is about, if any.
    Column("connection", Text),
    Column("names", Json),
    Column("numbers", Integer),
    Column("body", Packed, nullable=False),
    # Who has taken it on, when, and what they said; nobody: no instant.
    Column("acknowledged_at", UtcDateTime),
    Column("acknowledged_by", Text),
    Column("acknowledged_note", Text),
    # Of a part: the widespread alert that it belongs to. `record` is a part's tally, or what the last message
    # of a widespread alert said.
    Column("part_of", Text),
    Column("record", LargeBinary),
    # Of a widespread alert: when it last took a part, and when its body or its receivers are due for news.
    Column("widespread", Boolean, nullable=False, default=False),
    Column("grown_at", UtcDateTime),
    Column("tells_at", UtcDateTime),
    Index("alerts_cause", "account", "kind", "state", "started_at"),
    Index("alerts_tells", "tells_at"),
    # All that alerts are looked for by: their rows are large, and only those that are shown are read.
    Index(
        "alerts_listed",
        "status",
        "started_at",
        "id",
        "kind",
        "severity",
        "state",
        "connection",
        "numbers",
        "part_of",
        "widespread",
        "resolved_at",
    ),
)

episodes = Table(
    "episodes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("alert_id", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("episode_group", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("resolution", Text),
    Column("track", LargeBinary, nullable=False),
    Index("episodes_alert", "alert_id"),
    Index("episodes_key", "key", "opened_at"),
)

# Whether something began, ended or was taken on is found without a look at all that is open.
_goes_on, _has_ended = episodes.c.ended_at.is_(None), episodes.c.ended_at.is_not(None)
_OPEN = episodes.c.opened_at, episodes.c.ended_at
Index("episodes_open", *_OPEN, sqlite_where=_goes_on, postgresql_where=_goes_on)
Index("episodes_ended", episodes.c.ended_at, sqlite_where=_has_ended, postgresql_where=_has_ended)

_is_over, _is_open = alerts.c.resolved_at.is_not(None), alerts.c.resolved_at.is_(None)
_alone = _is_open & alerts.c.part_of.is_(None)
Index("alerts_resolved", alerts.c.resolved_at, sqlite_where=_is_over, postgresql_where=_is_over)
# They have the columns of their conditions too: SQLite looks those up in the row otherwise.
Index(
    "alerts_about",
    *(alerts.c[name] for name in ("severity", "connection", "resolved_at")),
    sqlite_where=_is_open,
    postgresql_where=_is_open,
)
# Not of all others: without statistics SQLite takes them for few.
_is_part = alerts.c.part_of.is_not(None)
Index("alerts_part_of", alerts.c.part_of, sqlite_where=_is_part, postgresql_where=_is_part)
_taken_on = _is_open & alerts.c.acknowledged_at.is_not(None)
_TAKEN_ON = alerts.c.acknowledged_at, alerts.c.resolved_at
Index("alerts_taken_on", *_TAKEN_ON, sqlite_where=_taken_on, postgresql_where=_taken_on)
_WORST = ("severity", "numbers", "started_at", "id", "kind", "connection", "resolved_at", "part_of")
Index("alerts_worst", *(alerts.c[name] for name in _WORST), sqlite_where=_alone, postgresql_where=_alone)

PENDING, DELIVERED, DEAD, CLOSED = "pending", "delivered", "dead", "closed"
"""The status of a delivery; a `closed` one need not be sent any more."""

deliveries = Table(
    "deliveries",
    metadata,
    Column("seq", _RowId, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("receiver", Text, nullable=False),
    Column("alert_id", Text, nullable=False),
    Column("change", Text, nullable=False),
    Column("version", Integer, nullable=False),
    # Until it is delivered; from then on it is shown with what its alert says.
    Column("body", Packed),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("created_at", UtcDateTime, nullable=False),
    # When it may be tried next; of one under way, when its lease ends.
    Column("due_at", UtcDateTime, nullable=False),
    Column("lease_until", UtcDateTime),
    # The pending message about the same alert that it was found to wait behind; see `store/outbox.py`.
    Column("behind", BigInteger),
    Column("holder", Text),
    Column("first_failed_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    # When it was queued, if it is the last one about an alert that fires and that nobody has taken on.
    Column("remind_from", UtcDateTime),
    Column("answer", Text),
    Index("deliveries_listed", "receiver", "status", "seq"),
    Index("deliveries_alert", "alert_id", "receiver", "seq"),
    Index("deliveries_finished", "finished_at"),
)


def has_status(which: FromClause, status: str) -> ColumnElement[bool]:
    """Return whether deliveries have a status, in the words of the indexes of those few that do."""
    return which.c.status == literal_column(f"'{status}'")


_pending, _dead = has_status(deliveries, PENDING), has_status(deliveries, DEAD)
# With the column of their conditions: SQLite prefers other indexes of as many otherwise.
_LINE = deliveries.c.receiver, deliveries.c.status, deliveries.c.alert_id, deliveries.c.seq
Index("deliveries_line", *_LINE, sqlite_where=_pending, postgresql_where=_pending)
Index("deliveries_dead", *_LINE, sqlite_where=_dead, postgresql_where=_dead)
_up = _pending & deliveries.c.behind.is_(None)
_UP = deliveries.c.receiver, deliveries.c.status, deliveries.c.due_at, deliveries.c.seq
Index("deliveries_due", *_UP, sqlite_where=_up, postgresql_where=_up)
TO_REMIND = deliveries.c.remind_from.is_not(None) & ~_pending
"""What a reminder may follow, in the words of an index."""
_REMIND = deliveries.c.receiver, deliveries.c.remind_from
Index("deliveries_remind", *_REMIND, sqlite_where=TO_REMIND, postgresql_where=TO_REMIND)
Index(
    "deliveries_behind",
    deliveries.c.behind,
    sqlite_where=deliveries.c.behind.is_not(None),
    postgresql_where=deliveries.c.behind.is_not(None),
)

receivers = Table(
    "receivers",
    metadata,
    Column("name", Text, primary_key=True),
    # Its filters; an Alertmanager, which hears of everything, has none.
    Column("route", Json),
    Column("known_since", UtcDateTime, nullable=False),
    Column("troubled_since", UtcDateTime),
    Column("refused", Boolean, nullable=False, default=False),
    # Since when it has answered 410 Gone; nothing is tried while this is set.
    Column("gone_since", UtcDateTime),
    # Attempts in a row that were answered, over all alerts, and accepted by none.
    Column("refused_in_row", Integer, nullable=False, default=0),
    Column("error", Text),
    Column("delivered_at", UtcDateTime),
)

# Which alerts each receiver has accepted a message about; kept when the receiver leaves the config.
told = Table(
    "told",
    metadata,
    Column("alert_id", Text, primary_key=True),
    Column("receiver", Text, primary_key=True),
    # When it first accepted one; and when it accepted the end, or needed no end.
    Column("told_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    sqlite_with_rowid=False,
)

posted = Table(
    "posted",
    metadata,
    Column("receiver", Text, primary_key=True),
    Column("url", Text, primary_key=True),
    Column("episode_id", Text, primary_key=True),
    Column("fingerprint", Text, primary_key=True),
    Column("labels", Json, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("accepted_at", UtcDateTime),
    Index("posted_waiting", "accepted_at"),
)

posters = Table(
    "posters",
    metadata,
    Column("receiver", Text, primary_key=True),
    Column("url", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("lease_until", UtcDateTime),
    # When a user last asked for a post at once.
    Column("asked_at", UtcDateTime),
    Column("troubled_since", UtcDateTime),
    Column("refused", Boolean, nullable=False, default=False),
    Column("refused_in_row", Integer, nullable=False, default=0),
    Column("error", Text),
)

failures = Table(
    "failures",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("records", LargeBinary, nullable=False),
)

# How discovery of each account has been going; claimed like a sync.
discoveries = Table(
    "discoveries",
    metadata,
    Column("account", Text, primary_key=True),
    Column("since", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("lease_until", UtcDateTime),
    Column("holder", Text),
    Column("outcome", Text),
    Column("failures", Integer, nullable=False, default=0),
    Column("same_kind", Integer, nullable=False, default=0),
    Column("answers", Integer, nullable=False, default=0),
    Column("listed_at", UtcDateTime),
)

# Who runs on this database: since when, which version, and since when with which config. What a `gone` one
# held is free.
replicas = Table(
    "replicas",
    metadata,
    Column("id", Text, primary_key=True),
    Column("started_at", UtcDateTime, nullable=False),
    Column("version", Text, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("config_at", UtcDateTime, nullable=False),
    Column("digest", Text, nullable=False),
    Column("gone", Boolean, nullable=False, default=False),
)

# What each distinct config wants: identities of connections, names of receivers.
watchlists = Table(
    "watchlists",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
)

# What all replicas share, in one row: since when some replica has been watching without a gap, and a number
# that moves whenever what is watched does. Its lock is their turn to decide for all. A migration writes the
# oldest revision whose program may go on; nothing: only its own.
fleet = Table(
    "fleet",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("since", UtcDateTime),
    Column("version", BigInteger, nullable=False, default=0),
    Column("oldest", Text),
)

# The pace of an account's requests, which replicas share: its next free slot, and the end of a pause.
budgets = Table(
    "budgets",
    metadata,
    Column("account", Text, primary_key=True),
    Column("next_at", UtcDateTime, nullable=False),
    Column("paused_until", UtcDateTime),
)

acceptances = Table(
    "acceptances",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("identity", Text, nullable=False),
    Column("key", Text),
    Column("asked_at", UtcDateTime, nullable=False),
)

# Numbers that a person keeps quiet for a while. Where it is about certain numbers, `silenced` has them; of
# one that lasts until they are ready, each leaves when it is.
silences = Table(
    "silences",
    metadata,
    Column("id", Text, primary_key=True),
    Column("connection", Text),
    Column("number", Text),
    Column("state", Text),
    Column("issue", Text),
    Column("alert", Text),
    Column("until", UtcDateTime),
    Column("until_ready", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("by", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("ended_by", Text),
    # Whether a daemon has logged its beginning and its end; commands have no log.
    Column("start_logged", Boolean, nullable=False, default=False),
    Column("end_logged", Boolean, nullable=False, default=False),
    Index("silences_ended", "ended_at"),
    Index("silences_created", "created_at", "id"),
)

silenced = Table(
    "silenced",
    metadata,
    Column("silence_id", Text, primary_key=True),
    Column("identity", Text, primary_key=True),
    Column("key", Text, primary_key=True),
)

actions = Table(
    "actions",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("at", UtcDateTime, nullable=False),
    Column("action", Text, nullable=False),
    Column("user", Text),
    Column("address", Text, nullable=False),
    Column("target", Text, nullable=False),
    # A command has no log: a daemon writes the line.
    Column("logged", Boolean, nullable=False),
    Index("actions_at", "at"),
    Index("actions_action", "action", "at"),
    Index("actions_user", "user", "at"),
    Index("actions_logged", "logged"),
)

pulse = Table(
    "pulse",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
)
