"""The first schema."""

import sqlalchemy as sa
from alembic import op

from monitor.store.tables import UtcDateTime

revision = "0001"
down_revision = None

# SQLite numbers rows by itself only in a column of the type INTEGER.
_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_DIGITS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables."""
    _alerts()
    _history()
    op.create_table(
        "acceptances",
        sa.Column("id", _ROW_ID, autoincrement=True, nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("asked_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "actions",
        sa.Column("id", _ROW_ID, autoincrement=True, nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), nullable=True),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("logged", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("actions_action", "actions", ["action", "at"], unique=False)
    op.create_index("actions_at", "actions", ["at"], unique=False)
    op.create_index("actions_user", "actions", ["user", "at"], unique=False)
    op.create_index("actions_logged", "actions", ["logged"], unique=False)
    op.create_table(
        "connections",
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("connection_id", sa.Text(), nullable=True),
        sa.Column("watched_since", UtcDateTime(), nullable=False),
        sa.Column("vanished_at", UtcDateTime(), nullable=True),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.Column("wakes_at", UtcDateTime(), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("holder", sa.Text(), nullable=True),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("rules_digest", sa.Text(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("settled", sa.Boolean(), nullable=False),
        sa.Column("unchanged", sa.Integer(), nullable=False),
        sa.Column("held", sa.Integer(), nullable=False),
        sa.Column("held_reason", sa.Text(), nullable=True),
        sa.Column("applied_at", UtcDateTime(), nullable=True),
        sa.Column("counts", sa.LargeBinary(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("same_kind", sa.Integer(), nullable=False),
        sa.Column("answers", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("synced_at", UtcDateTime(), nullable=True),
        sa.Column("succeeded_at", UtcDateTime(), nullable=True),
        sa.Column("duration_s", sa.Float(), nullable=True),
        sa.Column("moved_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("identity"),
    )
    op.create_index("connections_due", "connections", ["due_at"], unique=False)
    op.create_index("connections_leased", "connections", ["lease_until"], unique=False)
    op.create_index("connections_wakes", "connections", ["wakes_at"], unique=False)
    op.create_index("connections_name", "connections", ["name"], unique=False)
    op.create_table(
        "deliveries",
        sa.Column("seq", _ROW_ID, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("change", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("behind", sa.BigInteger(), nullable=True),
        sa.Column("holder", sa.Text(), nullable=True),
        sa.Column("first_failed_at", UtcDateTime(), nullable=True),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.Column("remind_from", UtcDateTime(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("deliveries_alert", "deliveries", ["alert_id", "receiver", "seq"], unique=False)
    op.create_index(
        "deliveries_behind",
        "deliveries",
        ["behind"],
        unique=False,
        sqlite_where=sa.text("behind IS NOT NULL"),
        postgresql_where=sa.text("behind IS NOT NULL"),
    )
    up, its = sa.text("status = 'pending' AND behind IS NULL"), ["receiver", "status", "due_at", "seq"]
    op.create_index("deliveries_due", "deliveries", its, sqlite_where=up, postgresql_where=up)
    for name, status in (("deliveries_line", "pending"), ("deliveries_dead", "dead")):
        those, its = sa.text(f"status = '{status}'"), ["receiver", "status", "alert_id", "seq"]
        op.create_index(name, "deliveries", its, sqlite_where=those, postgresql_where=those)
    last, its = sa.text("remind_from IS NOT NULL AND status != 'pending'"), ["receiver", "remind_from"]
    op.create_index("deliveries_remind", "deliveries", its, sqlite_where=last, postgresql_where=last)
    op.create_index("deliveries_listed", "deliveries", ["receiver", "status", "seq"], unique=False)
    op.create_index("deliveries_finished", "deliveries", ["finished_at"], unique=False)
    op.create_table(
        "discoveries",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("since", UtcDateTime(), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("holder", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("same_kind", sa.Integer(), nullable=False),
        sa.Column("answers", sa.Integer(), nullable=False),
        sa.Column("listed_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("account"),
    )
    op.create_table(
        "episodes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("episode_group", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("since", UtcDateTime(), nullable=False),
        sa.Column("opened_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("resolution", sa.Text(), nullable=True),
        sa.Column("track", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("episodes_alert", "episodes", ["alert_id"], unique=False)
    going, ended = sa.text("ended_at IS NULL"), sa.text("ended_at IS NOT NULL")
    opened = ["opened_at", "ended_at"]
    op.create_index("episodes_open", "episodes", opened, sqlite_where=going, postgresql_where=going)
    op.create_index("episodes_ended", "episodes", ["ended_at"], sqlite_where=ended, postgresql_where=ended)
    op.create_index("episodes_key", "episodes", ["key", "opened_at"], unique=False)
    op.create_table(
        "inventory",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("phone_number", sa.Text(), nullable=False),
        sa.Column("tail", _DIGITS, nullable=False),
        sa.Column("gone_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("key", "identity"),
    )
    op.create_index("inventory_gone", "inventory", ["gone_at"], unique=False)
    op.create_index("inventory_identity", "inventory", ["identity"], unique=False)
    op.create_index("inventory_tail", "inventory", ["tail"], unique=False)
    op.create_table(
        "failures",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("records", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "fleet",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("since", UtcDateTime(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("oldest", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "budgets",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("next_at", UtcDateTime(), nullable=False),
        sa.Column("paused_until", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("account"),
    )
    op.create_table(
        "pulse",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "posted",
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("episode_id", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("accepted_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("receiver", "url", "episode_id", "fingerprint"),
    )
    op.create_index("posted_waiting", "posted", ["accepted_at"], unique=False)
    op.create_table(
        "posters",
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("asked_at", UtcDateTime(), nullable=True),
        sa.Column("troubled_since", UtcDateTime(), nullable=True),
        sa.Column("refused", sa.Boolean(), nullable=False),
        sa.Column("refused_in_row", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("receiver", "url"),
    )
    op.create_table(
        "receivers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=True),
        sa.Column("known_since", UtcDateTime(), nullable=False),
        sa.Column("troubled_since", UtcDateTime(), nullable=True),
        sa.Column("refused", sa.Boolean(), nullable=False),
        sa.Column("gone_since", UtcDateTime(), nullable=True),
        sa.Column("refused_in_row", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("delivered_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "replicas",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.Column("config_at", UtcDateTime(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("gone", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    _silences()
    op.create_table(
        "snapshots",
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("records", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("identity"),
    )
    op.create_table(
        "told",
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("told_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("alert_id", "receiver"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "watchlists",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", "kind", "name"),
    )


def _silences() -> None:
    op.create_table(
        "silenced",
        sa.Column("silence_id", sa.Text(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("silence_id", "identity", "key"),
    )
    op.create_table(
        "silences",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("connection", sa.Text(), nullable=True),
        sa.Column("number", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("issue", sa.Text(), nullable=True),
        sa.Column("alert", sa.Text(), nullable=True),
        sa.Column("until", UtcDateTime(), nullable=True),
        sa.Column("until_ready", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.Column("start_logged", sa.Boolean(), nullable=False),
        sa.Column("end_logged", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("silences_created", "silences", ["created_at", "id"], unique=False)
    op.create_index("silences_ended", "silences", ["ended_at"], unique=False)


def _alerts() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.Column("resolved_at", UtcDateTime(), nullable=True),
        sa.Column("resolution", sa.Text(), nullable=True),
        sa.Column("connection", sa.Text(), nullable=True),
        sa.Column("names", sa.Text(), nullable=True),
        sa.Column("numbers", sa.Integer(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("acknowledged_at", UtcDateTime(), nullable=True),
        sa.Column("acknowledged_by", sa.Text(), nullable=True),
        sa.Column("acknowledged_note", sa.Text(), nullable=True),
        sa.Column("part_of", sa.Text(), nullable=True),
        sa.Column("record", sa.LargeBinary(), nullable=True),
        sa.Column("widespread", sa.Boolean(), nullable=False),
        sa.Column("grown_at", UtcDateTime(), nullable=True),
        sa.Column("tells_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("alerts_cause", "alerts", ["account", "kind", "state", "started_at"], unique=False)
    listed = ["status", "started_at", "id", "kind", "severity", "state", "connection", "numbers", "part_of"]
    op.create_index("alerts_listed", "alerts", [*listed, "widespread", "resolved_at"], unique=False)
    part = sa.text("part_of IS NOT NULL")
    op.create_index("alerts_part_of", "alerts", ["part_of"], sqlite_where=part, postgresql_where=part)
    over, still = sa.text("resolved_at IS NOT NULL"), sa.text("resolved_at IS NULL")
    op.create_index("alerts_resolved", "alerts", ["resolved_at"], sqlite_where=over, postgresql_where=over)
    about = ["severity", "connection", "resolved_at"]
    op.create_index("alerts_about", "alerts", about, sqlite_where=still, postgresql_where=still)
    taken = sa.text("resolved_at IS NULL AND acknowledged_at IS NOT NULL")
    on = ["acknowledged_at", "resolved_at"]
    op.create_index("alerts_taken_on", "alerts", on, sqlite_where=taken, postgresql_where=taken)
    op.create_index("alerts_tells", "alerts", ["tells_at"], unique=False)
    alone = sa.text("resolved_at IS NULL AND part_of IS NULL")
    worst = ["severity", "numbers", "started_at", "id", "kind", "connection", "resolved_at", "part_of"]
    op.create_index("alerts_worst", "alerts", worst, sqlite_where=alone, postgresql_where=alone)


def _history() -> None:
    op.create_table(
        "changes",
        sa.Column("id", _ROW_ID, autoincrement=True, nullable=False),
        sa.Column("pattern", sa.BigInteger(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("phone_number", sa.Text(), nullable=True),
        sa.Column("did_id", sa.Text(), nullable=True),
        sa.Column("client_id", sa.Text(), nullable=True),
        sa.Column("moved", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("changes_at", "changes", ["at"], unique=False)
    op.create_index("changes_key", "changes", ["key", "id"], unique=False)
    op.create_index("changes_pattern", "changes", ["pattern", "at"], unique=False)
    op.create_table(
        "gaps",
        sa.Column("id", _ROW_ID, autoincrement=True, nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("began_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("gaps_identity", "gaps", ["identity", "ended_at"], unique=False)
    op.create_index("gaps_ended", "gaps", ["ended_at"], unique=False)
    op.create_table(
        "patterns",
        sa.Column("id", _ROW_ID, autoincrement=False, nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("change", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("previous_state", sa.Text(), nullable=True),
        sa.Column("was_drifting", sa.Boolean(), nullable=False),
        sa.Column("issues", sa.Text(), nullable=False),
        sa.Column("previous_issues", sa.Text(), nullable=False),
        sa.Column("action_items", sa.Text(), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("used_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "journal",
        sa.Column("id", _ROW_ID, autoincrement=True, nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("ruleset", sa.BigInteger(), nullable=True),
        sa.Column("unchanged", sa.Integer(), nullable=False),
        sa.Column("seen_until", UtcDateTime(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("journal_at", "journal", ["at"], unique=False)
    op.create_index("journal_ruleset", "journal", ["ruleset"], unique=False)
    op.create_index("journal_identity", "journal", ["identity", "kind", "id"], unique=False)
    op.create_table(
        "rulesets",
        sa.Column("id", _ROW_ID, autoincrement=False, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("used_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("patterns_connection", "patterns", ["connection"], unique=False)
    op.create_index("patterns_identity", "patterns", ["identity"], unique=False)
