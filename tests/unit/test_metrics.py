"""What `/metrics` shows, read back from the rendering."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from monitor.drift.alert import Kind, Severity
from monitor.drift.snapshot import INVENTORY_KINDS, ChangeKind, Counts
from monitor.errors import Outcome
from monitor.metrics import ConnectionView, Metrics
from monitor.metrics.connections import ConnectionFamilies
from tests.fakes.yields import Yields

AT = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
COUNTS = Counts(
    states={"READY": 7, "NO_BOT": 2, "EXPIRED": 0},
    drifting={"NO_BOT": 2},
    issues={"NO_BOT": 2},
    inventory=dict.fromkeys(INVENTORY_KINDS, 4),
    warnings=1,
    skipped=3,
    ignored={"NO_BOT": 1},
)
VIEW = ConnectionView(
    identity="9b7f",
    name="acme-sales",
    account="acme",
    connection_id="9b7f",
    interval_s=60.0,
    counts=COUNTS,
    up=True,
    held=False,
    consecutive_failures=0,
    last_success_at=AT,
    last_duration_s=0.5,
    maintenance=False,
)
NEW = replace(VIEW, counts=None, up=None, last_success_at=None, last_duration_s=None)

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def build() -> Metrics:
    """Return metrics with nothing in them."""
    return Metrics(version="1.2.3", revision="abc")


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    """Return a series as a key of `Samples`."""
    return name, frozenset(labels.items())


async def scrape(metrics: Metrics, accept: str = "") -> Samples:
    """Return all samples, by series; no series may come twice."""
    _, pieces = await metrics.render(accept=accept)
    parse = parse_openmetrics if accept else parse_text
    found: Samples = {}
    for family in parse(b"".join(pieces).decode()):
        for sample in family.samples:
            series = key(sample.name, **sample.labels)
            assert series not in found
            found[series] = sample.value
    return found


def of(samples: Samples, connection: str) -> Samples:
    """Return the samples of one connection."""
    return {series: value for series, value in samples.items() if ("connection", connection) in series[1]}


@pytest.mark.parametrize("accept", ["", OPENMETRICS], ids=["text", "openmetrics"])
async def test_connection_shows_every_promised_series(accept: str) -> None:
    """A synced connection has the series of the contract, with their values, in both formats."""
    metrics = build()
    metrics.set_connection(VIEW)
    metrics.count_sync(VIEW.identity, Outcome.OK, 0.5)
    metrics.count_sync(VIEW.identity, Outcome.TIMEOUT, 30.0)
    metrics.count_change(VIEW.identity, ChangeKind.APPEARED, 2)
    c = "acme-sales"
    assert of(await scrape(metrics, accept), c) == {
        key("voicelink_numbers", connection=c, state="READY"): 7,
        key("voicelink_numbers", connection=c, state="NO_BOT"): 2,
        key("voicelink_numbers", connection=c, state="EXPIRED"): 0,
        key("voicelink_drift_numbers", connection=c, state="NO_BOT"): 2,
        key("voicelink_issue_numbers", connection=c, issue="NO_BOT"): 2,
        key("voicelink_ignored_numbers", connection=c, state="NO_BOT"): 1,
        **{key("voicelink_inventory", connection=c, kind=kind): 4 for kind in INVENTORY_KINDS},
        key("voicelink_sync_warnings", connection=c): 1,
        key("voicelink_sync_skipped_entries", connection=c): 3,
        key("voicelink_monitor_states_folded", connection=c): 0,
        key("voicelink_connection_info", connection=c, account="acme", connection_id="9b7f"): 1,
        key("voicelink_maintenance", connection=c): 0,
        key("voicelink_up", connection=c): 1,
        key("voicelink_sync_held", connection=c): 0,
        key("voicelink_sync_consecutive_failures", connection=c): 0,
        key("voicelink_sync_last_success_timestamp_seconds", connection=c): AT.timestamp(),
        key("voicelink_sync_last_duration_seconds", connection=c): 0.5,
        key("voicelink_sync_interval_seconds", connection=c): 60,
        key("voicelink_syncs_total", connection=c, outcome="ok"): 1,
        key("voicelink_syncs_total", connection=c, outcome="timeout"): 1,
        **{
            key("voicelink_changes_total", connection=c, change=kind): 2.0 * (kind is ChangeKind.APPEARED)
            for kind in ChangeKind
        },
    }


@pytest.mark.parametrize("accept", ["", OPENMETRICS], ids=["text", "openmetrics"])
async def test_dropped_log_lines_are_counted_by_the_log(accept: str) -> None:
    """They are 0 from the start, and what the log says at each scrape."""
    dropped = 0
    metrics = Metrics(version="1.0", dropped_lines=lambda: dropped)
    name = key("voicelink_monitor_log_lines_dropped_total")
    assert (await scrape(metrics, accept))[name] == 0
    dropped = 7
    assert (await scrape(metrics, accept))[name] == 7


async def test_connection_before_its_first_sync_claims_nothing() -> None:
    """No `up`, no counts; the last success is 0, `ok` and all changes are 0."""
    metrics = build()
    metrics.set_connection(replace(NEW, connection_id=None))
    c = "acme-sales"
    assert of(await scrape(metrics), c) == {
        key("voicelink_connection_info", connection=c, account="acme", connection_id=""): 1,
        key("voicelink_maintenance", connection=c): 0,
        key("voicelink_sync_held", connection=c): 0,
        key("voicelink_sync_consecutive_failures", connection=c): 0,
        key("voicelink_sync_last_success_timestamp_seconds", connection=c): 0,
        key("voicelink_sync_interval_seconds", connection=c): 60,
        key("voicelink_syncs_total", connection=c, outcome="ok"): 0,
        **{key("voicelink_changes_total", connection=c, change=kind): 0 for kind in ChangeKind},
    }


@pytest.mark.parametrize(
    ("change", "name", "value"),
    [
        pytest.param({"up": False}, "voicelink_up", 0, id="down"),
        pytest.param({"interval_s": 30.0}, "voicelink_sync_interval_seconds", 30, id="interval"),
        pytest.param({"held": True}, "voicelink_sync_held", 1, id="held"),
        pytest.param({"maintenance": True}, "voicelink_maintenance", 1, id="maintenance"),
        pytest.param({"consecutive_failures": 4}, "voicelink_sync_consecutive_failures", 4, id="failures"),
        pytest.param(
            {"last_duration_s": 1e-05}, "voicelink_sync_last_duration_seconds", 1e-05, id="duration"
        ),
        pytest.param({"counts": Counts(warnings=9)}, "voicelink_sync_warnings", 9, id="counts"),
    ],
)
async def test_connection_follows_its_view(change: dict[str, object], name: str, value: float) -> None:
    """What a later view says is what the next scrape shows."""
    metrics = build()
    metrics.set_connection(VIEW)
    await scrape(metrics)
    metrics.set_connection(replace(VIEW, **change))
    assert (await scrape(metrics))[key(name, connection="acme-sales")] == value


async def test_removed_connection_loses_all_its_series() -> None:
    """Nothing is left of a removed connection, and a sync that ends later does not bring it back."""
    metrics = build()
    metrics.set_connection(VIEW)
    metrics.remove_connection(VIEW.identity)
    metrics.count_sync(VIEW.identity, Outcome.OK, 0.1)
    metrics.count_change(VIEW.identity, ChangeKind.ADDED)
    assert of(await scrape(metrics), "acme-sales") == {}


async def test_renamed_connection_takes_its_counters_along() -> None:
    """A new name moves every series of the identity, its counters included."""
    metrics = build()
    metrics.set_connection(VIEW)
    metrics.count_sync(VIEW.identity, Outcome.OK, 0.1)
    metrics.count_change(VIEW.identity, ChangeKind.ADDED)
    metrics.set_connection(replace(VIEW, name="acme-retail"))
    samples = await scrape(metrics)
    assert of(samples, "acme-sales") == {}
    assert samples[key("voicelink_syncs_total", connection="acme-retail", outcome="ok")] == 1
    assert samples[key("voicelink_changes_total", connection="acme-retail", change="added")] == 1
    assert samples[key("voicelink_numbers", connection="acme-retail", state="READY")] == 7


async def test_name_belongs_to_the_identity_that_claimed_it_last() -> None:
    """A connection that got an id in the config shows its series once; dropping the old one keeps them."""
    metrics = build()
    metrics.set_connection(replace(VIEW, identity="acme", held=True))
    metrics.set_connection(VIEW)
    metrics.remove_connection("acme")
    assert (await scrape(metrics))[key("voicelink_sync_held", connection="acme-sales")] == 0


async def test_swapped_names_end_up_with_their_new_owners() -> None:
    """Two connections that swap names show each under its new one."""
    metrics = build()
    first, second = VIEW, replace(VIEW, identity="77aa", name="acme-retail", held=True)
    for view in (first, second, replace(first, name="acme-retail"), replace(second, name="acme-sales")):
        metrics.set_connection(view)
    samples = await scrape(metrics)
    assert samples[key("voicelink_sync_held", connection="acme-sales")] == 1
    assert samples[key("voicelink_sync_held", connection="acme-retail")] == 0


async def test_hidden_connections_keep_their_counters() -> None:
    """A replica without the store shows no gauges of connections, and its own counters go on."""
    metrics = build()
    metrics.set_connection(VIEW)
    lost = True
    metrics.hide_connections_while(lambda: lost)
    assert {name for name, _ in of(await scrape(metrics), "acme-sales")} == {
        "voicelink_syncs_total",
        "voicelink_changes_total",
    }
    lost = False
    assert (await scrape(metrics))[key("voicelink_up", connection="acme-sales")] == 1


async def test_number_series_are_capped_in_total() -> None:
    """Beyond the cap no number has a series; how many that are is a metric, and a lower cap drops more."""
    metrics = Metrics(version="1", max_number_series=3)
    numbers = (("+911", "READY"), ("+912", "NO_BOT"))
    metrics.set_connection(replace(VIEW, numbers=numbers))
    metrics.set_connection(replace(VIEW, identity="b", name="b", numbers=numbers))
    samples = await scrape(metrics)
    shown = {series for series in samples if series[0] == "voicelink_number_state"}
    assert shown == {
        key("voicelink_number_state", connection="acme-sales", phone_number="+911", state="READY"),
        key("voicelink_number_state", connection="acme-sales", phone_number="+912", state="NO_BOT"),
        key("voicelink_number_state", connection="b", phone_number="+911", state="READY"),
    }
    assert samples[key("voicelink_monitor_number_series_dropped")] == 1
    metrics.remove_connection(VIEW.identity)
    samples = await scrape(metrics)
    assert len([series for series in samples if series[0] == "voicelink_number_state"]) == 2
    assert samples[key("voicelink_monitor_number_series_dropped")] == 0
    metrics.limit_number_series(0)
    assert (await scrape(metrics))[key("voicelink_monitor_number_series_dropped")] == 2


async def test_number_state_follows_the_number() -> None:
    """A number that changes its state leaves the series of the old one."""
    metrics = build()
    for state in ("READY", "NO_BOT"):
        metrics.set_connection(replace(VIEW, numbers=(("+911", state),)))
        shown = [series for series in await scrape(metrics) if series[0] == "voicelink_number_state"]
        assert shown == [
            key("voicelink_number_state", connection="acme-sales", phone_number="+911", state=state)
        ]


text = st.text(st.characters(codec="utf-8"))


@settings(max_examples=25)  # each reads two whole renderings back
@given(name=text, account=text, state=text, issue=text, phone_number=text)
async def test_texts_from_outside_come_back_from_both_parsers(
    name: str, account: str, state: str, issue: str, phone_number: str
) -> None:
    """Names, states, issues and numbers may hold anything and neither break the page nor change on it."""
    metrics = build()
    counts = Counts(states={state: 1}, issues={issue: 1})
    metrics.set_connection(
        replace(VIEW, name=name, account=account, counts=counts, numbers=((phone_number, state),))
    )
    for accept in ("", OPENMETRICS):
        samples = await scrape(metrics, accept)
        assert (
            key("voicelink_connection_info", connection=name, account=account, connection_id="9b7f")
            in samples
        )
        assert key("voicelink_issue_numbers", connection=name, issue=issue) in samples
        assert (
            key("voicelink_number_state", connection=name, phone_number=phone_number, state=state) in samples
        )


async def test_lone_surrogate_does_not_cost_the_scrape() -> None:
    """A text that UTF-8 cannot carry is shown with a question mark."""
    metrics = build()
    metrics.set_connection(replace(VIEW, counts=Counts(states={"A\ud800": 1})))
    assert key("voicelink_numbers", connection="acme-sales", state="A?") in await scrape(metrics)


async def test_receivers_start_at_zero_and_lose_their_series() -> None:
    """Every delivery outcome of a configured receiver is 0 from the start; a removed one's are gone."""
    metrics = build()
    metrics.set_receivers(["log", "hook"])
    metrics.delivery("hook", "delivered")
    metrics.set_backlog("hook", 3, 1, AT)
    samples = await scrape(metrics)
    total = "voicelink_monitor_deliveries_total"
    for receiver, outcome, value in (
        ("hook", "delivered", 1),
        ("hook", "retried", 0),
        ("hook", "dead", 0),
        ("log", "delivered", 0),
    ):
        assert samples[key(total, receiver=receiver, outcome=outcome)] == value
    assert samples[key("voicelink_monitor_deliveries_pending", receiver="log")] == 0
    assert samples[key("voicelink_monitor_deliveries_dead", receiver="hook")] == 1
    metrics.set_receivers(["log"])
    metrics.delivery("hook", "delivered")
    metrics.set_backlog("hook", 3, 1, AT)
    assert not [series for series in await scrape(metrics) if ("receiver", "hook") in series[1]]


async def test_oldest_pending_is_absent_while_nothing_waits() -> None:
    """The oldest pending delivery has a timestamp only while there is one."""
    metrics = build()
    metrics.set_receivers(["hook"])
    oldest = key("voicelink_monitor_oldest_pending_delivery_timestamp_seconds", receiver="hook")
    assert oldest not in await scrape(metrics)
    metrics.set_backlog("hook", 1, 0, AT)
    assert (await scrape(metrics))[oldest] == AT.timestamp()
    metrics.set_backlog("hook", 0, 0, None)
    assert oldest not in await scrape(metrics)


def test_delivery_refuses_an_unknown_outcome() -> None:
    """A misspelt outcome is an error, not a new series."""
    metrics = build()
    metrics.set_receivers(["hook"])
    with pytest.raises(ValueError, match="lost"):
        metrics.delivery("hook", "lost")


async def test_accounts_start_at_zero_and_lose_their_series() -> None:
    """The wait for an account's budget is counted from 0 while the account is configured."""
    metrics = build()
    metrics.set_accounts(["acme", "other"])
    metrics.budget_wait("acme", 1.5)
    metrics.budget_wait("late", 1.0)
    samples = await scrape(metrics)
    wait = "voicelink_monitor_budget_wait_seconds_total"
    assert (samples[key(wait, account="acme")], samples[key(wait, account="other")]) == (1.5, 0)
    metrics.set_accounts(["acme"])
    assert {series for series in await scrape(metrics) if series[0] == wait} == {key(wait, account="acme")}


async def test_alerts_firing_shows_zeros_for_what_does_not_fire() -> None:
    """Every kind and severity has a series, so that an alert's end is a 0 and no gap."""
    metrics = build()
    metrics.set_alerts_firing({(Kind.DRIFT, Severity.CRITICAL): 2})
    firing = key("voicelink_alerts_firing", kind="drift", severity="critical")
    samples = await scrape(metrics)
    assert samples[firing] == 2
    assert samples[key("voicelink_alerts_firing", kind="sync_stale", severity="info")] == 0
    metrics.set_alerts_firing({})
    assert (await scrape(metrics))[firing] == 0


async def test_own_metrics_count_what_they_are_told() -> None:
    """The monitor's own counters and histograms move with their methods."""
    metrics = build()
    metrics.episode_ended(Kind.DRIFT, 90.0)
    metrics.store_error()
    metrics.schedule_delay(0.2)
    metrics.loop_lag(0.01)
    metrics.count_sync("unknown", Outcome.OK, 0.3)
    samples = await scrape(metrics)
    assert samples[key("voicelink_episode_duration_seconds_sum", kind="drift")] == 90.0
    assert samples[key("voicelink_episode_duration_seconds_bucket", kind="drift", le="300.0")] == 1
    assert samples[key("voicelink_monitor_store_errors_total")] == 1
    assert samples[key("voicelink_monitor_schedule_delay_seconds_count")] == 1
    assert samples[key("voicelink_monitor_event_loop_lag_seconds")] == 0.01
    assert samples[key("voicelink_monitor_sync_duration_seconds_sum")] == 0.3
    assert [series for series in samples if series[0] == "process_cpu_seconds_total"]
    build_info = [dict(labels) for name, labels in samples if name == "voicelink_monitor_build_info"]
    assert [(info["version"], info["revision"]) for info in build_info] == [("1.2.3", "abc")]


async def test_config_loaded_keeps_the_time_of_the_last_good_one() -> None:
    """A rejected config turns the flag off and leaves the time of the running one."""
    metrics = build()
    metrics.config_loaded(ok=True, at=AT)
    metrics.config_loaded(ok=False, at=AT + timedelta(hours=1))
    samples = await scrape(metrics)
    assert samples[key("voicelink_monitor_config_last_reload_successful")] == 0
    stamp = key("voicelink_monitor_config_last_reload_success_timestamp_seconds")
    assert samples[stamp] == AT.timestamp()


async def test_render_has_no_created_series_and_two_registries_do_not_meet() -> None:
    """`_created` samples would double the counters' series; a second instance shows nothing of the first."""
    metrics, other = build(), build()
    metrics.set_connection(VIEW)
    metrics.store_error()
    assert not [series for series in await scrape(metrics) if series[0].endswith("_created")]
    assert (await scrape(other))[key("voicelink_monitor_store_errors_total")] == 0


async def test_render_of_many_connections_lets_others_run() -> None:
    """While connections are rendered the event loop gets its turns, more when all are for the first time."""
    metrics = build()
    for number in range(3000):
        metrics.set_connection(replace(VIEW, identity=str(number), name=f"c{number}"))
    first, second = Yields(metrics.render(accept="")), Yields(metrics.render(accept=""))
    await first
    await second
    assert second.many >= 3
    assert first.many >= second.many + 3


async def test_scrape_shows_all_families_as_of_one_moment() -> None:
    """A connection that goes while its metrics are joined is in each family still, its successor in none."""
    metrics = build()
    for number in range(3000):
        metrics.set_connection(replace(NEW, identity=str(number), name=f"c{number}"))
    await metrics.render(accept="")
    scraping = asyncio.create_task(metrics.render(accept=""))
    await asyncio.sleep(0)
    metrics.set_connection(replace(NEW, identity="7th", name="c7", held=True))
    _, pieces = await scraping
    body = b"".join(pieces).decode()
    for series in ('changes_total{connection="c7",change="added"} 0', 'sync_held{connection="c7"} 0'):
        assert body.count(f"voicelink_{series}\n") == 1
    assert body.count('voicelink_sync_held{connection="c7"}') == 1
    assert (await scrape(metrics))[key("voicelink_sync_held", connection="c7")] == 1


def test_scrape_renders_only_what_changed() -> None:
    """The lines of a connection whose view and counters stayed are those of the last scrape."""
    families = ConnectionFamilies(max_number_series=0)
    for number in range(3):
        families.set(replace(VIEW, identity=str(number), name=f"c{number}"))
    assert len(list(families.prepare())) == 3
    families.set(replace(VIEW, identity="0", name="c0", held=True))
    families.count_sync("1", Outcome.OK)
    families.count_change("1", ChangeKind.ADDED, 1)
    assert len(list(families.prepare())) == 2
    assert list(families.prepare()) == []
