"""From a seed to a world."""

import random
from collections.abc import Callable

from tests.world.events import (
    Acknowledge,
    AnyEvent,
    BadConfig,
    Break,
    FullDisk,
    Garble,
    Ignore,
    Jump,
    Kill,
    Maintenance,
    Refuse,
    Remove,
    Restart,
    Silence,
    Suspend,
    Without,
    World,
)
from tests.world.provider import AGENTS, CLIENTS

STORM_S, SHORT_STORM_S = 50 * 60.0, 25 * 60.0
QUIET_S = 15 * 60.0
FIRST_STORM_S = 5 * 60.0
RECEIVERS = ("hook", "picky", "pd", "am")
STATES = ("KYC_PENDING", "SIM_SWAPPED")

_UNREADABLE = ("html", "cut", "redirect", "unsuccessful")
_REFUSED = ("401", "403", "404", "409", "429")
_AWAY = ("500", "503", "refused", "reset", "late", "slow")
_PARTIAL = ("empty", "most_lacking", "quarter_lacking", "all_ready")


def plan(seed: int, *, hours: float = 4.0, replicas: int = 0) -> World:
    """Return the world of a seed: storms with quiet spans between them, and a long one at the end."""
    rng = random.Random(seed)
    apart = (0.0, -300.0, 40.0, 3600.0)
    ahead_s = tuple(rng.choice(apart) for _ in range(replicas))
    storm_s = SHORT_STORM_S if replicas else STORM_S
    sizes = tuple(rng.choice((3, 6, 12, 20, 30)) for _ in range(rng.randint(2, 6)))
    accounts = tuple(rng.randrange(2) for _ in sizes)
    quiet: list[tuple[float, float]] = []
    events: list[AnyEvent] = []
    storm_begins_s = FIRST_STORM_S
    while not quiet or quiet[-1][1] < hours * 3600:
        storm_ends_s = storm_begins_s + storm_s
        events += _storm(rng, sizes, storm_begins_s, storm_ends_s, replicas)
        quiet.append((storm_ends_s, storm_ends_s + QUIET_S))
        storm_begins_s = storm_ends_s + QUIET_S
    return World(
        seed=seed,
        connections=sizes,
        accounts=accounts,
        interval_s=60,
        quiet=tuple(quiet),
        events=tuple(sorted(events, key=lambda event: event.at_s)),
        ahead_s=ahead_s,
    )


class _Storm:
    """Draws the events of one storm. Numbers may stay broken through the quiet span that follows."""

    def __init__(
        self, rng: random.Random, sizes: tuple[int, ...], begins_s: float, ends_s: float, replicas: int
    ) -> None:
        self.rng = rng
        self.replicas = replicas
        self.sizes = sizes
        self.begins_s = begins_s
        self.ends_s = ends_s

    def span(self, shortest_s: float, longest_s: float) -> tuple[float, float]:
        """Return a beginning and a length inside the storm."""
        lasts_s = round(self.rng.uniform(shortest_s, longest_s), 1)
        at_s = round(self.rng.uniform(self.begins_s, max(self.ends_s - lasts_s - 1, self.begins_s)), 1)
        return at_s, min(lasts_s, self.ends_s - at_s - 1)

    def some_numbers(self, most: int) -> tuple[tuple[int, int], ...]:
        """Return some numbers of one or two connections."""
        rng = self.rng
        connections = rng.sample(range(len(self.sizes)), rng.randint(1, 2))
        return tuple(
            (connection, position)
            for connection in sorted(connections)
            for position in sorted(
                rng.sample(range(self.sizes[connection]), rng.randint(1, min(most, self.sizes[connection])))
            )
        )

    def one_replica(self) -> int:
        """Return one of the replicas."""
        return self.rng.randrange(self.replicas) if self.replicas else 0

    def some_connections(self) -> tuple[int, ...]:
        """Return some connections; none at all means all of them."""
        every = range(len(self.sizes))
        return () if self.rng.random() < 0.4 else tuple(sorted(self.rng.sample(every, 1)))

    def breaks(self) -> AnyEvent:
        """Break numbers, some for long."""
        rng = self.rng
        at_s = round(rng.uniform(self.begins_s, self.ends_s - 60), 1)
        lasts_s = round(
            rng.choice((rng.uniform(20, 200), rng.uniform(400, 3000), rng.uniform(3000, 9000))), 1
        )
        cause = rng.choice(("bot", "agent", "routing", "expired", "state"))
        match cause:
            case "bot":
                return Break(at_s=at_s, lasts_s=lasts_s, cause=cause, which=rng.randint(1, CLIENTS))
            case "agent":
                return Break(at_s=at_s, lasts_s=lasts_s, cause=cause, which=rng.randint(1, AGENTS))
            case "state":
                state = rng.choice(STATES)
                return Break(
                    at_s=at_s, lasts_s=lasts_s, cause=cause, numbers=self.some_numbers(4), state=state
                )
            case _:
                return Break(at_s=at_s, lasts_s=lasts_s, cause=cause, numbers=self.some_numbers(8))

    def removes(self) -> AnyEvent:
        """Take numbers away."""
        at_s, lasts_s = self.span(60, 3600)
        if self.rng.random() < 0.3:
            lasts_s += 3000  # through the quiet span
        return Remove(at_s=at_s, lasts_s=lasts_s, numbers=self.some_numbers(4))

    def garbles(self) -> AnyEvent:
        """Answer badly."""
        rng = self.rng
        at_s, lasts_s = self.span(20, 900)
        kind = rng.choice((_UNREADABLE, _REFUSED, _AWAY, _AWAY, _PARTIAL, ("flap",), ("unreadable_entry",)))
        how = rng.choice(kind)
        if how == "flap":
            how += rng.choice(("401", "500", "html"))
            at_s, lasts_s = self.span(600, 2400)
        if how == "unreadable_entry":
            at_s, lasts_s = self.span(600, 4000)
        count = rng.randint(1, 2) if kind is _PARTIAL else rng.choice((0, 0, 1, 5))
        return Garble(at_s=at_s, lasts_s=lasts_s, how=how, connections=self.some_connections(), count=count)

    def refuses(self) -> AnyEvent:
        """Have a receiver refuse."""
        rng = self.rng
        at_s, lasts_s = self.span(20, 1500)
        how = rng.choice(
            ("400", "400", "401", "404", "500", "refused", "slow", "429", "lost", "every_second")
        )
        count = rng.choice((0, 1, 1, 3))
        return Refuse(at_s=at_s, lasts_s=lasts_s, receiver=rng.choice(RECEIVERS), how=how, count=count)

    def kills(self) -> AnyEvent:
        """Kill the process, now or at a bad moment."""
        rng = self.rng
        at_s, down_s = self.span(1, 500)
        on = rng.choice(("", "alert", "alert", "post"))
        steps = rng.randint(1, 120)
        return Kill(at_s=at_s, after_steps=steps, down_s=down_s, on=on, replica=self.one_replica())

    def restarts(self) -> AnyEvent:
        """Restart the process."""
        at_s, down_s = self.span(1, 120)
        return Restart(at_s=at_s, down_s=down_s, replica=self.one_replica())

    def suspends(self) -> AnyEvent:
        """Stop the process for a while."""
        at_s, lasts_s = self.span(2, 1200)
        return Suspend(at_s=at_s, lasts_s=lasts_s, replica=self.one_replica())

    def reconfigures(self) -> AnyEvent:
        """Change the config for a while."""
        rng = self.rng
        at_s, lasts_s = self.span(60, 2400)
        connection = rng.randrange(len(self.sizes))
        match rng.randrange(6):
            case 0 | 1:
                return Without(at_s=at_s, lasts_s=lasts_s, receiver=rng.choice(RECEIVERS))
            case 2:
                return Without(at_s=at_s, lasts_s=lasts_s, connection=connection)
            case 3:
                issue = rng.choice(("", "NO_BOT", "NO_VOCOBASE_AGENT"))
                return Ignore(at_s=at_s, lasts_s=lasts_s, connection=connection, issue=issue)
            case 4:
                return Maintenance(at_s=at_s, lasts_s=lasts_s, connection=connection)
            case _:
                return BadConfig(at_s=at_s)

    def silences(self) -> AnyEvent:
        """Keep a connection quiet."""
        rng = self.rng
        at_s, lasts_s = self.span(60, 2400)
        issue = rng.choice(("", "", "NO_BOT", "NO_VOCOBASE_AGENT"))
        return Silence(
            at_s=at_s,
            lasts_s=lasts_s,
            connection=rng.randrange(len(self.sizes)),
            issue=issue,
            until_ready=rng.random() < 0.4,
        )

    def acknowledges(self) -> AnyEvent:
        """Acknowledge an alert."""
        return Acknowledge(at_s=self.span(1, 60)[0])

    def jumps(self) -> AnyEvent:
        """Set the wall clock."""
        at_s, _ = self.span(1, 60)
        return Jump(at_s=at_s, by_s=self.rng.choice((-3600.0, -3600.0, -90.0, 600.0, 3600.0)))

    def fills(self) -> AnyEvent:
        """Fill the disk."""
        at_s, lasts_s = self.span(5, 300)
        return FullDisk(at_s=at_s, lasts_s=lasts_s)


def _storm(
    rng: random.Random, sizes: tuple[int, ...], begins_s: float, ends_s: float, replicas: int
) -> list[AnyEvent]:
    storm = _Storm(rng, sizes, begins_s, ends_s, replicas)
    draws: list[tuple[Callable[[], AnyEvent], int, int]] = [
        (storm.breaks, 3, 7),
        (storm.removes, 0, 2),
        (storm.garbles, 1, 5),
        (storm.refuses, 0, 4),
        (storm.kills, 0, 3),
        (storm.restarts, 0, 1),
        (storm.suspends, 0, 1),
        (storm.reconfigures, 0, 3),
        (storm.silences, 0, 2),
        (storm.acknowledges, 0, 2),
        *([] if replicas else [(storm.jumps, 0, 1), (storm.fills, 0, 1)]),
    ]
    return [draw() for draw, least, most in draws for _ in range(rng.randint(least, most))]
