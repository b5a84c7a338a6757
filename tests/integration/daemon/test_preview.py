"""What `check-config --against-store` says is what a reload then does."""

import asyncio
import random
import shutil
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from monitor.config import Config
from monitor.daemon.preview import Preview, preview
from monitor.daemon.watchlist import rules_of
from monitor.drift.alert import AlertBody, Kind, Status, decode_body
from monitor.drift.silences import NewSilence
from monitor.drift.widespread import REFRESH
from monitor.http.client import Network
from monitor.notify.alertmanager.poster import Poster
from monitor.notify.delivery import Sent
from monitor.simulator import Simulator, build_world
from monitor.store import widespread
from monitor.store.actions import COMMAND, Actor
from monitor.store.connections import watched
from monitor.store.database import Database
from monitor.store.deliveries import heard
from monitor.store.outbox import StoredOutbox
from monitor.store.queries import problems
from monitor.store.silencing import set_silence
from monitor.store.tables import alerts, episodes, posted
from tests.fakes.rig import Rig, rig

ANN = Actor(user="ann", address=COMMAND)
CONNECTIONS = 7
EXPIRED = "EXPIRED"
HOOK = {"name": "hook", "type": "webhook", "url": "http://x"}
PAGER = {"name": "pager", "type": "webhook", "url": "http://y", "min_severity": "critical"}
LEVEL = {"name": "level", "type": "alertmanager", "urls": ["http://z"]}
EARLY = {"start": "2026-01-01T00:00:00Z", "end": "2027-01-01T00:00:00Z"}


def account(made: Rig, *left_out: str, **also: Any) -> dict[str, Any]:
    """Return the account with its connections, but for some."""
    every = made.simulator.world.accounts[0].connections
    names = [{"name": each.name, "id": each.id} for each in every if each.name not in left_out]
    own = {"name": "account-1", "api_key": "rg_live_account_1", "requests_per_minute": 6000}
    return own | {"connections": names} | also


def renamed(made: Rig) -> dict[str, Any]:
    """Return the account with another name for its first connection."""
    whole = account(made)
    whole["connections"][0]["name"] = "other"
    return whole


BASE: Mapping[str, Any] = {"receivers": [HOOK, PAGER], "alerts__widespread_connections": "3"}
EDITS: Mapping[str, Mapping[str, Any]] = {
    "nothing": {},
    "an issue is ignored": {"ignore": [{"issue": EXPIRED, "reason": "spare"}]},
    "a connection is ignored": {"ignore": [{"connection": "conn-0001", "reason": "spare"}]},
    "one number is ignored": {"ignore": [{"connection": "conn-0001", "number": "*1", "reason": "spare"}]},
    "a severity rises": {"severity__expired": "critical"},
    "severities fall": {"severity__no_vocobase_agent": "info", "severity__routing_missing": "info"},
    "a receiver is added": {"receivers": [HOOK, PAGER, {**HOOK, "name": "new"}]},
    "one for some is added": {"receivers": [HOOK, PAGER, {**HOOK, "name": "n", "connections": ["*-0007"]}]},
    "a receiver is removed": {"receivers": [PAGER]},
    "a filter closes": {"receivers": [{**HOOK, "min_severity": "critical"}, PAGER]},
    "a filter opens": {"receivers": [HOOK, {**PAGER, "min_severity": "info"}]},
    "an Alertmanager is added": {"receivers": [HOOK, PAGER, LEVEL]},
    "one for critical is added": {"receivers": [HOOK, PAGER, {**LEVEL, "min_severity": "critical"}]},
    "all receivers are removed": {"receivers": []},
    "a connection is removed": {"accounts": ["conn-0001"]},
    "parts are removed": {"accounts": ["conn-0006", "conn-0007"]},
    "all of a cause are removed": {"accounts": [f"conn-000{each}" for each in range(3, 8)]},
    "a connection is renamed": {"accounts": None},
    "they are discovered": {"accounts": [f"conn-000{each}" for each in range(1, 8)], "discover": True},
    "removals are recorded": {"drift__removed": "record"},
    "reconfigurations are recorded": {"drift__reconfigured": "record"},
    "one sync confirms": {"drift__confirm_syncs": "1"},
    "ends come at once": {"drift__keep_firing_for": "0s"},
    "failures alert sooner": {"drift__failing_after": "1"},
    "it is stale sooner": {"drift__stale_after": "90s"},
    "maintenance begins": {"maintenance": [{"connections": ["*"], **EARLY}], "drift__confirm_syncs": "1"},
    "nothing is widespread": {"alerts__widespread_connections": "0", "drift__confirm_syncs": "1"},
    "updates come at once": {"alerts__update_interval": "0s", "ignore": [{"number": "*1", "reason": "x"}]},
}


def config_of(made: Rig, *edits: str) -> Config:
    """Return the first config with these edits."""
    values = dict(BASE) | {"accounts": []}
    for edit in edits:
        values |= EDITS[edit]
    left_out, discover = values["accounts"], values.pop("discover", False)
    whole = renamed(made) if left_out is None else account(made, *left_out, discover=discover)
    return made.config(values | {"accounts": [whole]})


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """Return a store with open alerts of all sorts, and the seconds that it took to get there."""
    folder = tmp_path_factory.mktemp("troubled")

    async def make() -> float:
        async with rig(folder, connections=CONNECTIONS) as made:
            began_at = made.clock.now()
            await trouble(made)
            return (made.clock.now() - began_at).total_seconds()

    return folder / "store.db", asyncio.run(make())


async def trouble(made: Rig) -> None:
    """Let there be trouble of all sorts: shared and widespread, silenced, pending, about to end, unseen."""
    do = made.simulator.do
    await made.active.install(config_of(made))
    await made.run()
    first, second, *others = (each.keys(10) for each in made.simulator.world.accounts[0].connections)
    for position in range(3, CONNECTIONS + 1):
        do("unassign_agent", numbers=position, connection=f"conn-000{position}")
    do("expire", numbers=first[:3])
    do("remove_routing", numbers=first[3:5])
    do("expire", numbers=second[:1])
    do("remove_number", number=second[1])
    do("switch_routing_off", number=second[2])
    await run(made, 3)
    asked = NewSilence(connection="conn-0001", number=f"+{first[0]}", until_ready=True, reason="known")
    await set_silence(made.database, made.codec, asked, ANN, made.clock.now(), logged=True)
    do("renew", numbers=second[:1])
    await run(made, 2)
    await drained(made)
    do("remove_routing", number=second[5])
    do("expire", numbers=[each[-1] for each in others])
    await run(made, 1)
    do("fault", kind="status", status=404)
    await run(made, 2)


async def run(made: Rig, often: int) -> None:
    """Let every connection be synced so often."""
    for _ in range(often):
        await made.run()


@asynccontextmanager
async def daemon_on(troubled: tuple[Path, float], folder: Path, *, after_s: float = 0) -> AsyncIterator[Rig]:
    """Give a daemon on a copy of the store: it has been running all the time, or starts so long after."""
    store, seconds = troubled
    shutil.copy(store, folder / "store.db")
    async with rig(folder, connections=CONNECTIONS) as made:
        for _ in range(int(seconds / 5)):
            await made.clock.advance(5)
            made.uptime.look()
        await made.clock.advance(after_s)
        made.uptime.look()
        await made.active.install(config_of(made))
        yield made


async def drained(made: Rig) -> None:
    """Let every receiver accept all that waits for it."""
    outbox = StoredOutbox(made.database, made.clock)
    for name in made.active.receivers:
        while leased := (await outbox.lease_due(name, limit=100, lease_s=30)).deliveries:
            now = made.clock.now()
            await outbox.settle([Sent(delivery=each, at=now, answer="ok") for each in leased])


async def posted_to(made: Rig) -> None:
    """Let Alertmanagers be told of what is open; it is written down before they answer."""
    for receiver in made.active.alertmanagers:
        for target in receiver.targets:
            await Poster(receiver, target).turn(woken=True)


async def reloaded(made: Rig, config: Config) -> None:
    """Reload for real, and do what a daemon does at once thereafter."""
    await made.active.install(config)
    assert all(done.result is None for done in await made.run(0)), "a sync was due"
    watchlist, soon = made.active.state.watchlist, made.clock.now() + REFRESH
    async with made.database.write() as tx:
        for alert_id in await widespread.due(tx, soon):
            await widespread.look_at(tx, alert_id, watchlist.spread, soon)
    await posted_to(made)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What there is to see of a daemon: alerts as they stand, who hears of them, and quiet numbers.

    `hears` are receivers by alert, `members` open episodes, `connections` names by identity.
    """

    bodies: Mapping[str, AlertBody]
    hears: Mapping[str, set[str]]
    members: Mapping[str, set[str]]
    quiet: set[str]
    connections: Mapping[str, str]

    def firing(self) -> set[str]:
        """Return the ids of the alerts that fire."""
        return {each for each, body in self.bodies.items() if body.status is Status.FIRING}


async def seen(made: Rig) -> Seen:
    """Return what there is to see now."""
    config, names = made.active.config, set(made.active.receivers)
    hears: dict[str, set[str]] = defaultdict(set)
    members: dict[str, set[str]] = defaultdict(set)
    async with made.database.read() as tx:
        bodies = {
            body.alert_id: body
            for body in map(decode_body, (await tx.execute(select(alerts.c.body))).scalars())
        }
        goes_on = select(episodes).where(episodes.c.ended_at.is_(None))
        for row in await tx.execute(goes_on):
            for alert_id in {row.alert_id, bodies[row.alert_id].part_of} - {None}:
                members[alert_id].add(row.id)
        for alert_id in bodies:
            hears[alert_id] |= await heard(tx, alert_id) & names
        for row in await tx.execute(select(posted).where(posted.c.ended_at.is_(None))):
            if row.receiver in names:
                hears[row.labels["alert_id"]].add(row.receiver)
        rules = {each.identity: rules_of(config, each.name) for each in await watched(tx, made.codec)}
        rows = (await problems(tx, made.codec, rules.get, made.clock.now(), limit=1000)).rows
    return Seen(
        bodies=bodies,
        hears={each: hears[each] for each in bodies},
        members={each: members[each] for each in bodies},
        quiet={row.key for row in rows if row.kind is Kind.DRIFT and row.status.quiet},
        connections={each: it.names.name for each, it in made.active.state.watchlist.connections.items()},
    )


def came_of_it(before: Seen, after: Seen) -> dict[str, Any]:
    """Return what a reload did, as a preview says it."""
    fired, fires = before.firing(), after.firing()
    changed = {}
    for each in fired & fires:
        heard, hears = before.hears[each], after.hears[each]
        had, has = before.members[each], after.members[each]
        was, body = before.bodies[each].severity, after.bodies[each].severity
        if (was, heard, had) != (body, hears, has):
            changed[each] = (
                body,
                sorted(hears - heard),
                sorted(heard - hears),
                len(has - had),
                len(had - has),
            )
    return {
        "ends": {each: after.bodies[each].resolution for each in fired - fires},
        "opens": sorted(
            (body.kind, body.connection or "", body.state or "", body.numbers_total, body.severity)
            for body in (after.bodies[each] for each in fires - fired)
        ),
        "heard": sorted(sorted(after.hears[each]) for each in fires - fired),
        "changes": changed,
        "silences": len(after.quiet - before.quiet),
        "connections": (
            {name for identity, name in after.connections.items() if identity not in before.connections},
            {name for identity, name in before.connections.items() if identity not in after.connections},
        ),
    }


def said(would: Preview) -> dict[str, Any]:
    """Return what a preview says, in the same form."""
    return {
        "ends": {each.alert_id: each.reason for each in would.ends},
        "opens": sorted(
            (each.kind, each.connection or "", each.state or "", each.numbers, each.severity)
            for each in would.opens
        ),
        "heard": sorted(each.receivers for each in would.opens),
        "changes": {
            each.alert_id: (
                each.severity,
                each.receivers_added,
                each.receivers_removed,
                each.members_added,
                each.members_ended,
            )
            for each in would.changes
        },
        "silences": would.silences_numbers,
        "connections": (set(would.connections_added), set(would.connections_removed)),
    }


async def foretold(made: Rig, config: Config) -> dict[str, Any]:
    """Return what a reload with this config is said to do; nothing has happened to the store."""
    writes, before = made.database.writes, await seen(made)
    would = said(await preview(config, made.database, Network(), made.clock))
    assert (made.database.writes, await seen(made)) == (writes, before)
    return would


async def agree(made: Rig, config: Config) -> tuple[int, int]:
    """Hold what a reload with this config is said to do against what it does.

    Return how many numbers it was said to make quiet, and how many it did.
    """
    would, before = await foretold(made, config), await seen(made)
    await reloaded(made, config)
    did = came_of_it(before, await seen(made))
    quieted = would.pop("silences"), did.pop("silences")
    assert would == did
    return quieted


@pytest.mark.parametrize("edit", EDITS)
async def test_preview_says_what_the_reload_then_does(
    troubled: tuple[Path, float], tmp_path: Path, edit: str
) -> None:
    """Alerts that end, open or change, with their receivers, and numbers that fall silent: all as said."""
    async with daemon_on(troubled, tmp_path) as made:
        told, quieted = await agree(made, config_of(made, edit))
        assert told == quieted


@pytest.mark.parametrize("seed", range(2))
async def test_preview_agrees_with_one_reload_after_the_other(
    troubled: tuple[Path, float], tmp_path: Path, seed: int
) -> None:
    """From any config to any other, while numbers go on being confirmed, ending and failing."""
    rng = random.Random(seed)
    async with daemon_on(troubled, tmp_path) as made:
        for _ in range(4):
            config = config_of(made, *rng.sample(list(EDITS), rng.randint(1, 3)))
            told, quieted = await agree(made, config)
            # Where others become audible by the same reload, it is not known how many were quiet before.
            assert told <= quieted
            await made.run(1)
            await run(made, rng.randint(0, 2))
            if rng.random() < 0.5:
                await drained(made)
            await posted_to(made)


async def test_preview_does_not_call_stale_what_nobody_has_looked_at(
    troubled: tuple[Path, float], tmp_path: Path
) -> None:
    """Where no daemon has been running, it says what a start does: that gives every connection its time."""
    async with daemon_on(troubled, tmp_path, after_s=1800) as made:
        would = await foretold(made, config_of(made, "it is stale sooner"))
        assert would["opens"] == []
        assert would["ends"] != {}  # the number that was ready again


async def test_preview_reads_a_store_that_replicas_share(postgres: str) -> None:
    """PostgreSQL is copied to memory like SQLite; whatever other replicas still want, all are to reload."""
    async with Database(postgres) as database:
        await database.migrate()
        made = Rig(database, Simulator(build_world(CONNECTIONS, 10)))
        await trouble(made)
        for edit in ("a connection is ignored", "a receiver is added", "parts are removed"):
            told, quieted = await agree(made, config_of(made, edit))
            assert told == quieted
            await made.run(1)
        await made.active.close()
