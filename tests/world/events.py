"""What happens in a world: plain values, so that a world can be printed, shrunk and played again."""

from typing import Any

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Something that begins at an instant. `at_s` counts from the beginning of the world."""

    at_s: float


class Break(Event, frozen=True, kw_only=True):
    """Numbers go bad for one cause, in one instant, and are well again later.

    `cause`: `bot` (all numbers of the client `which`), `agent` (all numbers with the agent `which`),
    `routing` and `expired` (the listed numbers), `state` (the listed numbers, in an unknown state).
    `numbers` are positions: connection, number.
    """

    lasts_s: float
    cause: str
    which: int = 0
    numbers: tuple[tuple[int, int], ...] = ()
    state: str = ""


class Remove(Event, frozen=True, kw_only=True):
    """Numbers leave the inventory, and come back."""

    lasts_s: float
    numbers: tuple[tuple[int, int], ...]


class Garble(Event, frozen=True, kw_only=True):
    """The provider answers badly: `how`, about these connections (none: all), at most `count` times each."""

    lasts_s: float
    how: str
    connections: tuple[int, ...] = ()
    count: int = 0


class Refuse(Event, frozen=True, kw_only=True):
    """A receiver does not take messages: `how`, at most `count` times."""

    lasts_s: float
    receiver: str
    how: str
    count: int = 0


class Kill(Event, frozen=True, kw_only=True):
    """The process dies after so many more steps, and is started again.

    `on`: the steps are counted from the next time that this happens (`alert`: an alert is being recorded,
    `post`: a receiver took something); empty: from now.
    """

    after_steps: int
    down_s: float
    on: str = ""
    replica: int = 0


class Restart(Event, frozen=True, kw_only=True):
    """The process is told to end, and is started again."""

    down_s: float
    replica: int = 0


class Suspend(Event, frozen=True, kw_only=True):
    """The process is stopped and goes on later, as after SIGSTOP and SIGCONT."""

    lasts_s: float
    replica: int = 0


class Without(Event, frozen=True, kw_only=True):
    """The config lacks something for a while: `receiver` or `connection`."""

    lasts_s: float
    receiver: str = ""
    connection: int | None = None


class Ignore(Event, frozen=True, kw_only=True):
    """The config ignores an issue, or all numbers, of a connection for a while."""

    lasts_s: float
    connection: int
    issue: str = ""


class Maintenance(Event, frozen=True, kw_only=True):
    """A connection is in a maintenance window that ends by itself."""

    lasts_s: float
    connection: int


class Silence(Event, frozen=True, kw_only=True):
    """Somebody silences an issue, or all numbers, of a connection for a while.

    `until_ready`: only those that drift when it is set, each until it is ready.
    """

    lasts_s: float
    connection: int
    issue: str = ""
    until_ready: bool = False


class Acknowledge(Event, frozen=True, kw_only=True):
    """Somebody acknowledges what has been firing for longest."""


class BadConfig(Event, frozen=True, kw_only=True):
    """Somebody reloads a config that cannot be used."""


class Jump(Event, frozen=True, kw_only=True):
    """The wall clock is set."""

    by_s: float


class FullDisk(Event, frozen=True, kw_only=True):
    """The store cannot be written."""

    lasts_s: float


AnyEvent = (
    Break
    | Remove
    | Garble
    | Refuse
    | Kill
    | Restart
    | Suspend
    | Without
    | Ignore
    | Maintenance
    | Silence
    | Acknowledge
    | BadConfig
    | Jump
    | FullDisk
)


class World(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that makes a world what it is.

    `connections` are their sizes; `accounts` says to which account each belongs. `quiet` are the spans, begin
    and end, in which nothing happens; at the end of each the receivers must agree with the truth. `ahead_s`
    says how wrong the clock of each replica is; without any, one daemon has a SQLite file to itself.
    """

    seed: int
    connections: tuple[int, ...]
    accounts: tuple[int, ...]
    interval_s: int
    quiet: tuple[tuple[float, float], ...]
    events: tuple[AnyEvent, ...]
    ahead_s: tuple[float, ...] = ()

    @property
    def ends_s(self) -> float:
        """When it is over."""
        return self.quiet[-1][1]


def to_json(world: World) -> str:
    """Return a world as text."""
    return msgspec.json.format(msgspec.json.encode(world), indent=1).decode()


def from_json(text: str | bytes) -> World:
    """Return the world of a text."""
    return msgspec.json.decode(text, type=World)


def describe(event: AnyEvent) -> str:
    """Return an event in a line."""
    given: dict[str, Any] = msgspec.to_builtins(event)  # defaults left out
    said = " ".join(f"{name}={value}" for name, value in given.items() if name not in ("type", "at_s"))
    return f"{event.at_s:8.1f} {given['type'].lower()} {said}"
