"""Driving the world: the story as time passes, and single steps from outside."""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any

import msgspec

from monitor.clock import Clock
from monitor.simulator.reply import Reply, failure
from monitor.simulator.scenario import Scenario
from monitor.simulator.steps import ScenarioStep, parse_step
from monitor.simulator.world import ScenarioError, World, seconds


def story(scenario: Scenario) -> Iterator[tuple[float, ScenarioStep]]:
    """Yield each step with its seconds from the start, round after round if the scenario repeats."""
    if scenario.steps:
        for turn in count() if scenario.repeat else (0,):
            for step in scenario.steps:
                yield turn * scenario.length_s + seconds(step.at), step


class Control:
    """Applies steps to the world, and tells about each.

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
            ScenarioError: It is no step, or means something that is not there.
        """
        step = parse_step(data)
        self._take(step)
        return step

    def _take(self, step: ScenarioStep) -> None:
        self._world.now_s = self._clock.monotonic()
        step.apply(self._world)
        self._on_step(step.text)

    def reply(self, body: bytes, content_type: str) -> Reply:
        """Take the step in a request's body: TOML if the content type says so, else JSON."""
        try:
            toml = "toml" in content_type
            data: Any = tomllib.loads(body.decode("utf-8")) if toml else msgspec.json.decode(body)
            if not isinstance(data, dict):
                return failure(400, "send one step as an object")
            step = self.do(data)
        except (tomllib.TOMLDecodeError, msgspec.DecodeError, UnicodeDecodeError):
            return failure(400, "the body is neither JSON nor TOML")
        except ScenarioError as exc:
            return failure(400, str(exc))
        return Reply(msgspec.json.encode({"success": True, "data": {"done": step.do}}))
