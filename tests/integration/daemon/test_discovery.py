"""Discovery: when the provider is asked for an account's connections again."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.store.discoveries import discovery_identity
from monitor.watch.discovery import DISCOVERY_INTERVAL
from tests.fakes.rig import Rig, rig

ACCOUNT = {"name": "account-1", "api_key": "rg_live_account_1", "discover": True}


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Rig]:
    """Return a rig whose one account is to be discovered."""
    async with rig(tmp_path) as one:
        await one.configure("hook", accounts=[ACCOUNT])
        yield one


async def asked(made: Rig) -> timedelta:
    """Ask what is due; return how long it rests then."""
    await made.discovery.ask_due()
    return await made.discovery.ask_due()


async def test_discovery_rests_for_an_hour_once_it_was_answered(made: Rig) -> None:
    """The list of connections seldom changes, and the requests are the partner's."""
    assert await asked(made) == DISCOVERY_INTERVAL
    assert len(made.active.state.watchlist.connections) == 1
    [state] = await made.discoveries()
    assert (state.streak.answers, state.listed_at) == (1, made.clock.now())


async def test_discovery_that_failed_is_tried_again_soon(made: Rig) -> None:
    """What was known stays watched."""
    await asked(made)
    made.simulator.do("fault", status=503)
    await made.clock.advance(DISCOVERY_INTERVAL.total_seconds())
    assert await asked(made) <= timedelta(seconds=15)
    [state] = await made.discoveries()
    assert state.streak.failures == 1
    assert len(made.active.state.watchlist.connections) == 1


async def test_discovery_is_not_settled_while_it_is_in_an_alert(made: Rig) -> None:
    """One answer does not end a failure alert; the next must not be an hour away."""
    made.active.state.troubled = frozenset({discovery_identity("account-1")})
    assert await asked(made) <= timedelta(seconds=15)


async def test_discovery_is_asked_again_at_a_reload(made: Rig) -> None:
    """Who reloads wants to see what is there now, and so does who starts."""
    await asked(made)
    await made.configure("hook", accounts=[ACCOUNT])
    before = len(made.simulator.requests)
    await made.discovery.ask_due()
    assert len(made.simulator.requests) == before + 1


async def test_another_replica_asks_when_this_one_is_gone(made: Rig) -> None:
    """Whoever has claimed an account and ends leaves it due when the lease does."""
    state = made.active.state
    state.replica = replace(state.replica, id="gone")
    watching = state.watchlist
    state.watchlist = replace(watching, client=None)  # type: ignore[arg-type]  # it dies before it asks
    with pytest.raises(AttributeError):
        await made.discovery.ask_due()
    state.replica, state.watchlist = replace(state.replica, id="here"), watching
    assert await made.discovery.ask_due() <= timedelta(minutes=2)
    await made.clock.advance(120)
    await made.discovery.ask_due()
    assert len(made.active.state.watchlist.connections) == 1
