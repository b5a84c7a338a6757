"""The table: a row for each goal of "Speed and size to reach" in DESIGN.md, for drains and for replicas."""

from tests.bench import delivery, loop, pages, replicas, size, syncs
from tests.bench.row import Row

ROWS = (
    Row(name="unchanged", title="unchanged sync / bare fetch", unit="x", goal=1.5, run=syncs.unchanged),
    Row(name="changed", title="1% changed sync / decode + fetch", unit="x", goal=3.0, run=syncs.changed),
    Row(name="large-answer", title="stall by 10,000 numbers, p99", unit="ms", goal=50, run=loop.large_answer),
    Row(name="scrape", title="/metrics of 1,000 connections, p99", unit="ms", goal=100, run=loop.scrape),
    Row(name="scrape-stall", title="stall meanwhile, p99", unit="ms", goal=20, run=loop.scrape_stall),
    Row(name="reach", title="change to alert, p99", unit="s", goal=11, run=delivery.reach),
    Row(name="memory", title="1,000 connections x 1,000 numbers", unit="MiB", goal=300, run=size.memory),
    Row(name="start", title="start with 1,000,000 numbers", unit="s", goal=2, run=size.start),
    Row(name="idle-cpu", title="idle, of a core", unit="%", goal=1, run=size.idle_cpu),
    Row(name="idle-memory", title="idle, resident", unit="MiB", goal=120, run=size.idle_memory),
    Row(name="backlog", title="drain of 1,000 deliveries", unit="s", goal=None, run=delivery.backlog),
    Row(name="replica-idle", title="idle, 10,000 connections", unit="%", goal=5, run=replicas.idle_cpu),
    Row(name="statements", title="statements per sync", unit="", goal=3, run=replicas.statements),
    Row(
        name="fleet", title="those of 3 replicas / of 1", unit="x", goal=1.5, run=replicas.statements_of_three
    ),
    Row(name="turn", title="drain's turn, 100,000 / 1,000 pending", unit="x", goal=1.5, run=delivery.turn),
    Row(name="pages", title="any page, 1,000,000 changes / 10,000", unit="x", goal=3.0, run=pages.pages),
)
