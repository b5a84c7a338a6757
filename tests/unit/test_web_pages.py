"""What the overview page says."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from monitor.drift.alert import AlertBody, Kind, Notice, Severity
from monitor.drift.alert import Status as AlertStatus
from monitor.drift.snapshot import Counts
from monitor.metrics import ConnectionView
from monitor.web.pages import build_templates, instant, render_overview, sync_state
from monitor.web.status import ReceiverStatus, Status

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
VIEW = ConnectionView(
    identity="9b7f",
    name="acme-sales",
    account="acme",
    connection_id=None,
    counts=Counts(states={"READY": 7, "NO_BOT": 2, "EXPIRED": 0}, drifting={"NO_BOT": 2}),
    up=True,
    held=False,
    consecutive_failures=0,
    last_success_at=AT,
    last_duration_s=0.5,
    maintenance=False,
)
STATUS = Status(
    instance="prod",
    version="1.2.3",
    connections=[VIEW],
    alerts=[],
    receivers=[],
    config_error=None,
    store_ok=True,
)


def alert(severity: Severity, summary: str) -> AlertBody:
    """Return a firing alert."""
    return AlertBody(
        alert_id="a1",
        kind=Kind.DRIFT,
        change=Notice.OPENED,
        status=AlertStatus.FIRING,
        resolution=None,
        severity=severity,
        summary=summary,
        instance="prod",
        connection="acme-sales",
        account="acme",
        state="NO_BOT",
        started_at="2026-03-01T11:00:00.000Z",
        updated_at="2026-03-01T11:00:00.000Z",
        resolved_at=None,
        version=1,
        numbers_total=0,
        numbers_listed=0,
        numbers=[],
        numbers_added=0,
        numbers_ended=0,
        connections=["acme-sales"],
        common={},
        actions=[],
        labels={},
        url=None,
        runbook_url=None,
    )


def render(**changes: object) -> str:
    """Return the page of a status."""
    return render_overview(build_templates(), replace(STATUS, **changes))  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        pytest.param({}, ("ok", "ok"), id="ok"),
        pytest.param({"up": None}, ("none", "not synced yet"), id="new"),
        pytest.param({"up": False}, ("bad", "failed"), id="down"),
        pytest.param({"up": False, "consecutive_failures": 1}, ("bad", "failed once"), id="failed"),
        pytest.param({"consecutive_failures": 3}, ("bad", "failed 3 times in a row"), id="failing"),
        pytest.param({"held": True}, ("warn", "held: implausible answer"), id="held"),
    ],
)
def test_sync_state_names_the_worst(changes: dict[str, object], state: tuple[str, str]) -> None:
    """The word for a connection's syncs is the one that somebody must act on."""
    assert sync_state(replace(VIEW, **changes)) == state  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize("at", [AT, "2026-03-01T12:00:00.000Z", "2026-03-01T17:30:00+05:30"])
def test_instant_is_utc(at: datetime | str) -> None:
    """An instant is shown in UTC, and says so, however it came."""
    assert instant(at) == "2026-03-01 12:00:00 UTC"


def test_overview_shows_connections_with_their_counts() -> None:
    """A connection's row has its states, without those that nobody is in, and its last success."""
    page = render()
    assert "<h1>2 of 9 numbers drifting</h1>" in page
    assert "NO_BOT&nbsp;<b>2</b>" in page
    assert "EXPIRED" not in page
    assert "2026-03-01 12:00:00 UTC" in page


def test_overview_of_a_new_connection_claims_nothing() -> None:
    """Before the first snapshot the page says unknown, not zero."""
    new = replace(VIEW, counts=None, up=None, last_success_at=None, maintenance=True)
    page = render(connections=[new])
    assert "unknown" in page
    assert "never" in page
    assert "not synced yet</span>, in maintenance" in page


def test_overview_puts_the_worst_first() -> None:
    """Critical alerts and drifting connections lead their tables."""
    quiet = replace(VIEW, name="aaa", counts=Counts())
    down = replace(quiet, name="zzz", up=False)
    page = render(
        alerts=[alert(Severity.WARNING, "two routes gone"), alert(Severity.CRITICAL, "bot gone")],
        connections=[quiet, down, VIEW],
    )
    order = [page.index(text) for text in ("bot gone", "two routes gone", ">acme-sales<", ">zzz<", ">aaa<")]
    assert order == sorted(order)


def test_overview_shows_receivers_that_fail() -> None:
    """A receiver's row has its backlog, since when it fails, and why."""
    receiver = ReceiverStatus(name="hook", pending=4, dead=1, failing_since=AT, error="401 Unauthorized")
    page = render(receivers=[receiver, replace(receiver, name="log", failing_since=None, error=None)])
    assert "failing since" in page
    assert "401 Unauthorized" in page
    assert '<span class="ok">ok</span>' in page


def test_overview_says_what_is_wrong_with_the_monitor() -> None:
    """A store that is away and a refused config are told on top; neither is when all is well."""
    page = render(store_ok=False, config_error="api.timeout: not a duration")
    assert "The store is away" in page
    assert "api.timeout: not a duration" in page
    assert 'role="alert"' not in render()


def test_overview_escapes_what_comes_from_outside() -> None:
    """No name, state, summary or error can bring markup."""
    evil = "<script>alert(1)</script>"
    page = render(
        instance=evil,
        connections=[replace(VIEW, name=evil, account=evil, counts=Counts(states={evil: 1}))],
        alerts=[alert(Severity.INFO, evil)],
        receivers=[ReceiverStatus(name=evil, pending=0, dead=0, failing_since=None, error=evil)],
        config_error=evil,
    )
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 8


def test_overview_needs_nothing_from_elsewhere() -> None:
    """The page loads its own files only, and has no script."""
    page = render()
    assert "://" not in page.replace('href="/', "")
    assert "<script" not in page
    assert "style=" not in page
