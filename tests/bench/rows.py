"""The table: what is measured, with a goal where one is set, and how costs grow."""

from tests.bench import delivery, history, loop, pages, replicas, size, syncs
from tests.bench.row import Curve, Row, Value

_EVEN = "the same / evenly spread fetches"

CURVES = {
    "connections": Curve(
        of="connections", sizes=(100, 300, 1_000, 3_000, 10_000), unit="ms a sync at 100/s", cost=syncs.among
    ),
    "numbers": Curve(
        of="numbers", sizes=(100, 300, 1_000, 3_000, 10_000), unit="ms a sync", cost=syncs.of_numbers
    ),
    "alerts": Curve(
        of="open alerts", sizes=(0, 1_000, 3_000, 10_000), unit="ms an idle second", cost=size.idle_beside
    ),
    "overview": Curve(
        of="open alerts", sizes=(0, 1_000, 3_000, 10_000), unit="ms an overview", cost=pages.overview
    ),
    "changes": Curve(
        of="changes",
        sizes=(10_000, 30_000, 100_000, 300_000, 1_000_000),
        unit="ms the costliest request",
        cost=pages.costliest,
    ),
    "pending": Curve(
        of="pending messages",
        sizes=(500, 1_000, 2_000, 4_000, 8_000),
        unit="ms a delivery",
        cost=delivery.one_of,
    ),
}
"""Those of rows with the same name, which compare the largest size with the smallest."""


def _grown(name: str, title: str, goal: float | None) -> Row:
    return Row(name=name, values=[Value(title=title, goal=goal)], run=CURVES[name].ratio)


ROWS = (
    Row(
        name="unchanged",
        values=[
            Value(title="unchanged sync at 100/s / fetches in the same pattern", goal=1.1),
            Value(title=_EVEN, goal=0.7),
        ],
        run=syncs.unchanged,
    ),
    Row(
        name="slow",
        values=[
            Value(title="unchanged sync at 10/s / fetches in the same pattern", goal=1.5),
            Value(title=_EVEN),
        ],
        run=syncs.slow,
    ),
    Row(
        name="https",
        values=[
            Value(title="unchanged sync at 100/s / fetches, both over TLS", goal=1.1),
            Value(title=_EVEN),
        ],
        run=syncs.https,
    ),
    Row(
        name="postgres",
        values=[Value(title="unchanged sync at 100/s, on PostgreSQL / fetches"), Value(title=_EVEN)],
        run=syncs.postgres,
    ),
    Row(
        name="changed",
        values=[Value(title="1% of 1,000 numbers changed / fetch and decode", goal=3.0), Value(title=_EVEN)],
        run=syncs.changed,
    ),
    Row(name="alert", values=[Value(title="opens or ends an alert / unchanged", goal=2.0)], run=syncs.alerts),
    _grown("connections", "sync, 10,000 connections / 100", 1.2),
    _grown("numbers", "unchanged sync, 10,000 numbers / 100", None),
    _grown("alerts", "idle, 10,000 open alerts with reminders / none", 2.0),
    _grown("overview", "overview, 10,000 alerts / none", 3.0),
    Row(
        name="pages",
        values=[
            Value(title="any page or answer, 1,000,000 changes / 10,000", goal=3.0),
            Value(title="the costliest one", unit="ms of CPU", goal=50),
        ],
        run=pages.pages,
    ),
    _grown("pending", "a delivery, of 8,000 pending / of 500", 1.1),
    Row(
        name="turn",
        values=[Value(title="drain's turn, 100,000 pending / 1,000", goal=1.5)],
        run=delivery.turn,
    ),
    Row(name="reach", values=[Value(title="change to alert, p99", unit="s", goal=11)], run=delivery.reach),
    Row(
        name="scrape",
        values=[
            Value(title="/metrics with 10,000 connections, gzip", unit="ms of CPU", goal=74),
            Value(title="the same, not compressed", unit="ms of CPU", goal=74),
            Value(title="its size", unit="MB"),
            Value(title="longest stall meanwhile", unit="ms", goal=20),
        ],
        run=loop.scrape,
    ),
    Row(
        name="large-answer",
        values=[Value(title="stall by 10,000 numbers, p99", unit="ms", goal=50)],
        run=loop.large_answer,
    ),
    Row(
        name="bytes",
        values=[
            Value(title="stored for a change alone in its sync", unit="B", goal=2_200),
            Value(title="logged for it", unit="B", goal=900),
            Value(title="stored for one of ten", unit="B", goal=400),
            Value(title="logged for it", unit="B", goal=200),
        ],
        run=size.a_change,
    ),
    Row(
        name="memory",
        values=[
            Value(title="resident, 1,000 connections x 1,000 numbers", unit="MiB", goal=300),
            Value(title="resident, 10,000 connections x 10 numbers", unit="MiB", goal=260),
        ],
        run=size.memory,
    ),
    Row(name="start", values=[Value(title="start with 1,000,000 numbers", unit="s", goal=2)], run=size.start),
    Row(
        name="idle",
        values=[
            Value(title="10 connections at 60 s, of a core", unit="%", goal=1),
            Value(title="resident meanwhile", unit="MiB", goal=120),
        ],
        run=size.idle,
    ),
    Row(
        name="replica-idle",
        values=[Value(title="busiest of 3, 10,000 connections, of a core", unit="%", goal=5)],
        run=replicas.idle_cpu,
    ),
    Row(
        name="replay",
        values=[
            Value(title="a month of 100 connections, by the rules of then", unit="s of CPU", goal=30),
            Value(title="by others", unit="s of CPU", goal=30),
        ],
        run=history.month,
    ),
    Row(
        name="statements",
        values=[
            Value(title="statements a sync, one replica", unit="", goal=2.5),
            Value(title="three replicas", unit="", goal=3.5),
        ],
        run=replicas.statements,
    ),
)
