"""A scrape of a thousand connections with all that names may hold, read by the parsers of the formats."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from monitor.drift.alert import Kind, Severity
from monitor.drift.snapshot import ChangeKind, Counts
from monitor.errors import Outcome
from monitor.metrics import ConnectionView, Metrics
from tests.servers.prometheus import check
from tests.unit.test_metrics import AT, COUNTS, OPENMETRICS, VIEW

HOSTILE = (
    "plain",
    'a "quoted" one',
    "back\\slash",
    "ends in a backslash\\",
    "\\n is no line feed",
    "a\nline feed",
    "carriage\r\nreturn",
    "brace} 1",
    'x"} 1 # {a="b"} 2',
    "# EOF",
    "comma,equals=",
    " spaces around ",
    "नंबर 日本 🛰",
    "line\u2028separator\x85next",
    "nul\x00 escape\x1b",
)
PARSERS: dict[str, tuple[str, Callable[[str], Iterable[Metric]]]] = {
    "text": ("", parse_text),
    "openmetrics": (OPENMETRICS, parse_openmetrics),
}


def view_of(place: int, connection: str, account: str, state: str, issue: str) -> ConnectionView:
    """Return a connection that drifts."""
    counts = msgspec.structs.replace(
        COUNTS, states={"READY": 7, state: 2}, drifting={state: 2}, issues={issue: 2}, ignored={state: 1}
    )
    return msgspec.structs.replace(
        VIEW,
        identity=f"identity {place}",
        name=connection,
        account=account,
        counts=counts,
        numbers=((f"+91{place:010d}", state),),
    )


def metrics_of(views: Iterable[ConnectionView], receivers: Iterable[str]) -> Metrics:
    """Return the metrics of a daemon after a life with all of it."""
    views, receivers = list(views), list(receivers)
    metrics = Metrics(version="1.2.3", revision="abc")
    metrics.set_accounts(sorted({view.account for view in views}))
    metrics.set_receivers(receivers)
    for view in views:
        metrics.set_connection(view)
        metrics.count_sync(view.identity, Outcome.OK, 0.5)
        metrics.count_sync(view.identity, Outcome.TIMEOUT, 30.0)
        metrics.count_change(view.identity, ChangeKind.APPEARED, 2)
    for name in receivers:
        metrics.delivery(name, "delivered")
        metrics.set_backlog(name, 1, 0, AT)
    for kind in Kind:
        metrics.set_alerts_firing({(kind, severity): 1 for severity in Severity})
        metrics.episode_ended(kind, 90.0)
    return metrics


async def scraped(metrics: Metrics, accept: str) -> str:
    """Return a scrape."""
    _, pieces = await metrics.render(accept=accept)
    return b"".join(pieces).decode()


def labels_in(document: str, parse: Callable[[str], Iterable[Metric]]) -> dict[str, list[dict[str, str]]]:
    """Return the labels of every sample by name; no series may come twice, no family in two pieces."""
    found: dict[str, list[dict[str, str]]] = {}
    families: set[str] = set()
    for family in parse(document):
        assert family.name not in families
        families.add(family.name)
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    for samples in found.values():
        assert len({frozenset(labels.items()) for labels in samples}) == len(samples)
    return found


def assert_told(
    found: dict[str, list[dict[str, str]]], views: Iterable[ConnectionView], receivers: Iterable[str]
) -> None:
    """Check that a scrape names everything as it is."""

    def pairs(name: str, *labels: str) -> set[tuple[Any, ...]]:
        return {tuple(sample.get(label, "") for label in labels) for sample in found.get(name, ())}

    views = list(views)
    assert pairs("voicelink_connection_info", "connection", "account") == {
        (view.name, view.account) for view in views
    }
    by_label: tuple[tuple[str, str, Callable[[Counts], Iterable[str]]], ...] = (
        ("voicelink_numbers", "state", lambda counts: counts.states),
        ("voicelink_drift_numbers", "state", lambda counts: counts.drifting),
        ("voicelink_issue_numbers", "issue", lambda counts: counts.issues),
        ("voicelink_ignored_numbers", "state", lambda counts: counts.ignored),
    )
    for name, label, read in by_label:
        expected = {(view.name, value) for view in views if view.counts for value in read(view.counts)}
        assert pairs(name, "connection", label) == expected
    assert pairs("voicelink_number_state", "connection", "phone_number", "state") == {
        (view.name, *number) for view in views for number in view.numbers
    }
    assert pairs("voicelink_monitor_budget_wait_seconds_total", "account") == {
        (view.account,) for view in views
    }
    assert pairs("voicelink_monitor_deliveries_pending", "receiver") == {(name,) for name in receivers}


@pytest.fixture(scope="module")
def thousand() -> list[ConnectionView]:
    """Return a thousand connections of fifteen accounts."""
    return [
        view_of(
            place,
            f"{HOSTILE[place % len(HOSTILE)]} {place}",
            HOSTILE[place % len(HOSTILE)],
            HOSTILE[(place + 1) % len(HOSTILE)],
            HOSTILE[(place + 2) % len(HOSTILE)],
        )
        for place in range(1000)
    ]


@pytest.mark.parametrize("form", PARSERS)
async def test_scrape_of_a_thousand_connections_is_read_as_it_is(
    thousand: list[ConnectionView], form: str
) -> None:
    """Every name, state and code comes back whole, whatever it holds."""
    accept, parse = PARSERS[form]
    document = await scraped(metrics_of(thousand, HOSTILE), accept)
    assert document.endswith("# EOF\n") == (form == "openmetrics")
    assert_told(labels_in(document, parse), thousand, HOSTILE)


async def test_scrape_of_a_thousand_connections_gives_promtool_nothing_to_say(
    thousand: list[ConnectionView],
) -> None:
    """Prometheus' own parser and linter."""
    document = await scraped(metrics_of(thousand, HOSTILE), "")
    assert await asyncio.to_thread(check, "promtool", "check", "metrics", text=document) == ""


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(names, names, names, names), min_size=1, max_size=4, unique_by=lambda each: each[0]),
    st.sets(names, max_size=3),
    st.sampled_from(list(PARSERS)),
)
async def test_any_name_survives_a_scrape(
    connections: list[tuple[str, str, str, str]], receivers: set[str], form: str
) -> None:
    """In either format, of connections, accounts, states, issues and receivers."""
    accept, parse = PARSERS[form]
    views = [view_of(place, *words) for place, words in enumerate(connections)]
    assert_told(labels_in(await scraped(metrics_of(views, receivers), accept), parse), views, receivers)
