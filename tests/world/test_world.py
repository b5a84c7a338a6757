"""Ten worlds drawn by seeds, and those that once broke a promise."""

import asyncio
import gc

import pytest

from tests.world.__main__ import tell
from tests.world.events import Break, Garble, Kill, Refuse, Remove, Restart, World
from tests.world.model import check
from tests.world.plan import plan
from tests.world.play import play
from tests.world.promises import KEPT
from tests.world.replicas import play_replicas

BROKE = {
    "unreadable entries hide a removed number": World(
        seed=1,
        connections=(12, 8, 30),
        accounts=(0, 0, 0),
        interval_s=60,
        quiet=((5000, 6400), (9000, 10800)),
        events=(
            Garble(at_s=600, lasts_s=8000, how="unreadable_entry"),
            Break(at_s=700, lasts_s=7000, cause="routing", numbers=((0, 2), (0, 3))),
            Remove(at_s=2000, lasts_s=5000, numbers=((0, 2), (0, 4))),
        ),
    ),
    "a 404 gives way to a refused connection": World(
        seed=1,
        connections=(12, 8, 30),
        accounts=(0, 0, 0),
        interval_s=60,
        quiet=((5000, 6400),),
        events=(
            Refuse(at_s=600, lasts_s=230, receiver="hook", how="404"),
            Break(at_s=700, lasts_s=2000, cause="routing", numbers=((0, 2), (0, 3))),
            Refuse(at_s=840, lasts_s=1500, receiver="hook", how="refused"),
            Break(at_s=850, lasts_s=2000, cause="expired", numbers=((1, 2), (1, 3))),
        ),
    ),
    "a restart while nothing is answered": World(
        seed=1,
        connections=(12, 8, 30),
        accounts=(0, 0, 0),
        interval_s=60,
        quiet=((5000, 6400),),
        events=(Garble(at_s=600, lasts_s=1500, how="429"), Restart(at_s=1500, down_s=5)),
    ),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(1, 11))
def test_receivers_believe_what_is_true(seed: int) -> None:
    """Whatever the world does: nothing lost, doubled, false or left open, and nothing blind in silence."""
    _hold_to_promises(plan(seed))


@pytest.mark.timeout(900)
def test_receivers_of_replicas_believe_what_is_true(postgres: str) -> None:
    """Three share a PostgreSQL, and are killed, suspended and reconfigured, each with a clock of its own."""
    _hold_to_promises(plan(44, hours=0.3, replicas=3), postgres)


@pytest.mark.parametrize("name", BROKE)
def test_world_that_broke_a_promise_breaks_none_now(name: str) -> None:
    """What was found once stays away."""
    _hold_to_promises(BROKE[name])


def test_killed_processes_leave_nothing_behind() -> None:
    """What was cut off in its work does not go on, or clean up, while something else is tested."""
    kills = [Kill(at_s=310.0 + 20 * index, after_steps=20 + 7 * index, down_s=5) for index in range(5)]
    world = World(
        seed=1, connections=(12,), accounts=(0,), interval_s=60, quiet=((420, 440),), events=(*kills,)
    )
    before = _pending_tasks()
    play(world)
    assert _pending_tasks() == before


def _pending_tasks() -> list[asyncio.Task[object]]:
    return [each for each in gc.get_objects() if isinstance(each, asyncio.Task) and not each.done()]


def _hold_to_promises(world: World, url: str = "") -> None:
    played = play_replicas(world, url) if url else play(world)
    problems = check(played, KEPT)
    assert not problems, "\n".join([tell(played), *map(str, problems)])
