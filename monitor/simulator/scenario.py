"""Scenarios: a world and the story that happens to it, in a small TOML file; and playing them."""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from itertools import count
from pathlib import Path
from typing import Any

from monitor.clock import Clock
from monitor.simulator.shape import ScenarioShape, build, parse_shape
from monitor.simulator.steps import ScenarioStep, parse_step
from monitor.simulator.world import ScenarioError, World, did_you_mean, seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A world to start from, and its steps in the order of their time.

    `length_s` is the time one round takes; a story that is not repeated has one round.
    """

    shape: ScenarioShape
    steps: tuple[ScenarioStep, ...]
    repeat: bool
    length_s: float

    def world(self) -> World:
        """Return a new world, as it is before the first step."""
        return build(self.shape)


def story(scenario: Scenario) -> Iterator[tuple[float, ScenarioStep]]:
    """Yield each step with its seconds from the start, round after round if the scenario repeats."""
    if scenario.steps:
        for turn in count() if scenario.repeat else (0,):
            for step in scenario.steps:
                yield turn * scenario.length_s + seconds(step.at), step


class Control:
    """Plays a scenario, and takes single steps from outside; tells about each.

    Args:
        on_step: Called with a step's words, once it is taken.
    """

    def __init__(
        self, world: World, scenario: Scenario | None, clock: Clock, on_step: Callable[[str], None] | None
    ) -> None:
        self._world = world
        self._story = story(scenario) if scenario is not None else iter(())
        self._next = next(self._story, None)
        self._clock = clock
        self._on_step = on_step or (lambda _: None)
        self._started_s: float | None = None

    def start(self) -> float:
        """Begin the story now, if it has not begun; return when it began, by the monotonic clock."""
        if self._started_s is None:
            self._started_s = self._clock.monotonic()
        return self._started_s

    def catch_up(self) -> None:
        """Take the steps whose time has come; skip one whose object is gone."""
        if self._started_s is None:
            return
        while self._next is not None and self._next[0] <= self._clock.monotonic() - self._started_s:
            step = self._next[1]
            self._next = next(self._story, None)
            try:
                self._take(step)
            except ScenarioError as exc:
                self._on_step(f"skipped {step.do}: {exc}")

    async def run(self) -> None:
        """Take each step of the story at its time; return after the last one."""
        started_s = self.start()
        while self._next is not None:
            await self._clock.sleep(max(0.0, started_s + self._next[0] - self._clock.monotonic()))
            self.catch_up()

    def do(self, data: Mapping[str, Any]) -> ScenarioStep:
        """Take one step now; `data` has the keys of a scenario's step.

        Raises:
            ScenarioError: It is not a step, or names something that does not exist.
        """
        step = parse_step(data)
        self._take(step)
        return step

    def _take(self, step: ScenarioStep) -> None:
        self._world.now_s = self._clock.monotonic()
        step.apply(self._world)
        self._on_step(step.text)


def parse_scenario(text: str, source: str | None = None) -> Scenario:
    """Return the scenario of a TOML text.

    Args:
        text: The file's text.
        source: The file's name, for errors.

    Raises:
        ScenarioError: What is wrong, at which step or key. Every step is tried on a copy of the world, so
            that a bot that is not there is found now and not in the middle of the story.
    """
    try:
        shape = parse_shape(tomllib.loads(text))
        steps = _steps(shape)
        length_s = _length(shape, steps)
    except tomllib.TOMLDecodeError as exc:
        raise ScenarioError([f"it is not TOML: {exc}"], source) from exc
    except (ValueError, RecursionError) as exc:
        bounds = "it is not TOML: a value is out of bounds, or nested too deeply"
        raise ScenarioError([bounds], source) from exc
    except ScenarioError as exc:
        raise ScenarioError(exc.problems, source) from exc
    return Scenario(shape=shape, steps=steps, repeat=shape.repeat, length_s=length_s)


def load_scenario(path: Path) -> Scenario:
    """Return the scenario of a file. Reads it at once: call it before the loop runs, or from a thread.

    Raises:
        ScenarioError: The file cannot be read, or what is wrong in it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise ScenarioError([f"the scenario cannot be read: {reason}"], str(path)) from exc
    return parse_scenario(text, str(path))


def shipped_scenario(name: str) -> Scenario:
    """Return a scenario that comes with the program: `demo` or `quiet`.

    Raises:
        ScenarioError: There is none of that name.
    """
    folder = resources.files("monitor.simulator").joinpath("scenarios")
    known = sorted(
        each.name.removesuffix(".toml") for each in folder.iterdir() if each.name.endswith(".toml")
    )
    if name not in known:
        raise ScenarioError(
            [f'no scenario "{name}" is shipped{did_you_mean(name, known)}; there are {", ".join(known)}']
        )
    return parse_scenario(folder.joinpath(f"{name}.toml").read_text(encoding="utf-8"), f"{name}.toml")


def _steps(shape: ScenarioShape) -> tuple[ScenarioStep, ...]:
    """Return the steps in the order of their time, each tried on a copy of the world."""
    parsed: list[tuple[str, ScenarioStep]] = []
    for position, table in enumerate(shape.steps, start=1):
        where = f"steps[{position}] ({table.get('do', '?')})"
        try:
            parsed.append((where, parse_step(table)))
        except ScenarioError as exc:
            raise exc.located(where) from exc
    parsed.sort(key=lambda pair: seconds(pair[1].at))
    rehearsal = build(shape)
    for where, step in parsed * (2 if shape.repeat else 1):
        try:
            step.apply(rehearsal)
        except ScenarioError as exc:
            raise exc.located(where) from exc
    return tuple(step for _, step in parsed)


def _length(shape: ScenarioShape, steps: tuple[ScenarioStep, ...]) -> float:
    last_s = max((seconds(step.at) for step in steps), default=0.0)
    length_s = last_s if shape.length is None else seconds(shape.length)
    if length_s < last_s:
        raise ScenarioError(["`length` is shorter than the story: a step comes after it"])
    if shape.repeat and length_s <= 0:
        raise ScenarioError(['a repeated story needs a `length`, like "60s"'])
    return length_s
