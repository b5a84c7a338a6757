"""What is watched and by which rules: the part of the program that a reload replaces as a whole."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from monitor.drift.failures import FailureRules
from monitor.drift.text import Watched, Wording
from monitor.drift.widespread import Spread
from monitor.notify.routing import Route
from monitor.store.replicas import LiveReplica, Replica
from monitor.voicelink.client import VoiceLinkClient
from monitor.watch.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchlist:
    """What the config and discovery say is watched, and which receivers get messages."""

    connections: Mapping[str, Connection]
    client: VoiceLinkClient
    failure_rules: FailureRules
    wording: Wording
    routes: tuple[Route, ...]
    spread: Spread
    repeats: Mapping[str, timedelta] = field(default_factory=dict)
    """How often receivers want to be reminded of what still fires."""
    discovering: frozenset[str] = frozenset()
    """The accounts whose connections are discovered."""
    watched: Mapping[str, Watched] = field(init=False)
    stale_after: timedelta = field(init=False)
    """The shortest of its connections'; a day without any."""

    def __post_init__(self) -> None:
        names = {
            connection.identity: Watched(name=connection.names.name, account=connection.names.account)
            for connection in self.connections.values()
        }
        object.__setattr__(self, "watched", names)
        stale_after = min((each.stale_after for each in self.connections.values()), default=timedelta(days=1))
        object.__setattr__(self, "stale_after", stale_after)


@dataclass(slots=True)
class ActiveState:
    """What is active now: the watchlist, which a reload replaces, and what goes with it.

    `replica` is this process among the `replicas` of its database, and `live` how many of them there are.
    `foreign` are connections, by identity, that are left to others. `former` are the names of connections
    that were watched once, for alerts that end with them. `troubled` are the identities in a failure alert
    that have not been good for enough syncs since. `fresh_s` is when this process last got a snapshot of
    each, or began to watch it, by the monotonic clock.
    """

    watchlist: Watchlist
    replica: Replica
    live: int = 1
    replicas: tuple[LiveReplica, ...] = ()
    foreign: frozenset[str] = frozenset()
    troubled: frozenset[str] = frozenset()
    former: dict[str, Watched] = field(default_factory=dict)
    fresh_s: dict[str, float] = field(default_factory=dict)
