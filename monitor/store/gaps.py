"""Gaps: when a connection could not be seen, one row for each, written by the sync that sees it again.

A connection is seen while its syncs are applied as planned. It is not from the last applied answer on when a
sync fails or is held, or when none ends in time because the monitor was down; nor before its first answer.
"""

from sqlalchemy import Insert, bindparam, func, insert, select

from monitor.store.tables import UtcDateTime, connections, gaps

_BEGAN = func.coalesce(connections.c.succeeded_at, connections.c.watched_since)
_SEEN = bindparam("seen_at", type_=UtcDateTime())

END_GAP: Insert = insert(gaps).from_select(
    ["identity", "began_at", "ended_at"],
    select(connections.c.identity, _BEGAN, _SEEN).where(
        connections.c.identity == bindparam("which"),
        connections.c.epoch == bindparam("held_epoch"),
        _BEGAN < _SEEN,
    ),
)
"""Records the gap that a sync has ended, while its claim holds; to be run before the sync is recorded."""
