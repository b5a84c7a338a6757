"""What explanations go by: commands without a daemon know the same as the daemon."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from monitor.config import Config, load_config
from monitor.daemon.grounds import configured_grounds, watched_grounds
from monitor.daemon.watchlist import account_budgets, build_watchlist
from monitor.drift.alert import Severity
from monitor.http.redactor import Redactor
from monitor.store.connections import ConnectionName
from monitor.voicelink.client import VoiceLinkClient
from monitor.watch.connection import Connection
from tests.fakes.clock import FakeClock

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CONFIG = """
[drift]
failing_after = 4
[[accounts]]
name = "acme"
api_key = "rg_live_1"
[[accounts.connections]]
name = "acme-sales"
id = "9b7f1c44-c87f-4f0c-9124-3c802a9c1a20"
[[accounts.connections]]
name = "acme-support"
id = "4d1f0f6e-5d0a-4c53-9a37-0c9f2b6c7e11"
interval = "10m"
[[accounts]]
name = "other"
api_key = "rg_live_2"
discover = true
[[ignore]]
connection = "acme-sales"
issue = "NO_BOT"
reason = "spare numbers"
until = 2026-03-02
[[maintenance]]
connections = ["acme-*"]
start = 2026-03-01T13:00:00Z
end = 2026-03-01T15:00:00Z
[[receivers]]
name = "am"
type = "alertmanager"
urls = ["http://am:9093"]
min_severity = "critical"
"""


def configured(tmp_path: Path) -> tuple[Config, dict[str, Connection]]:
    """Return a config, and the connections that a daemon watches with it."""
    file = tmp_path / "config.toml"
    file.write_text(CONFIG)
    config, clock = load_config(file, {}), FakeClock(NOW)
    client = VoiceLinkClient(
        transport=httpx.AsyncBaseTransport(),
        base_url="http://test",
        timeout_s=1,
        max_response_bytes=1,
        max_concurrent=1,
        clock=clock,
        redactor=Redactor(),
        rng=random.Random(1),
    )
    budgets = account_budgets(config, clock, lambda _name, _s: None, kept={})
    watchlist = build_watchlist(config, client=client, budgets=budgets, discovered={}, now=NOW)
    return config, dict(watchlist.connections)


def test_command_knows_what_the_daemon_knows(tmp_path: Path) -> None:
    """Rules at any instant, the guard, and when something is stale; and who hears of alerts."""
    config, connections = configured(tmp_path)
    daemon, command = watched_grounds(config, connections), configured_grounds(config, NOW)
    assert len(connections) == 2
    for connection in connections.values():
        mine, theirs = daemon.terms_of(connection.names), command.terms_of(connection.names)
        assert mine is not None
        assert theirs is not None
        for hours in range(6):
            at = NOW + timedelta(hours=hours)
            assert mine.rules_at(at) == theirs.rules_at(at)
            assert mine.rules_at(at).muted == (1 <= hours < 3)
        assert (mine.guard, mine.stale_after, mine.failing_after) == (
            theirs.guard,
            theirs.stale_after,
            theirs.failing_after,
        )
        assert mine.failing_after == 4
    assert daemon.routes == command.routes
    assert [(route.receiver, route.min_severity) for route in daemon.routes] == [
        ("log", Severity.INFO),
        ("am", Severity.CRITICAL),
    ]
    assert daemon.failure_rules == command.failure_rules


def test_command_knows_discovered_connections_but_no_others(tmp_path: Path) -> None:
    """What left the config has no rules any more, unless discovery may have found it."""
    config, _ = configured(tmp_path)
    grounds = configured_grounds(config, NOW)
    gone = ConnectionName(identity="gone", name="acme-old", account="acme")
    found = ConnectionName(identity="found", name="found", account="other")
    assert grounds.terms_of(gone) is None
    terms = grounds.terms_of(found)
    assert terms is not None
    assert terms.rules_at(NOW).ignores == ()
