"""Driving the world: the story as time passes, and single steps from outside."""

import tomllib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from monitor.clock import Clock
from monitor.simulator.problem import ScenarioError
from monitor.simulator.reply import Failure, Reply
from monitor.simulator.scenario import Story
from monitor.simulator.step import ScenarioStep
from monitor.simulator.steps import parse_step
from monitor.simulator.world import World


class Control:
    """Applies steps to the world, and tells about each.

    Args:
        on_step: Called with a step's words, once it is taken.
    """

    def __init__(
        self, world: World, story: Story, clock: Clock, on_step: Callable[[str], None] | None
    ) -> None:
        self._world = world
        self._story = story
        self._clock = clock
        self._on_step = on_step
        self._started_s: float | None = None

    def start(self) -> None:
        """Begin the story now; a second call changes nothing."""
        if self._started_s is None:
            self._started_s = self._clock.monotonic()

    def catch_up(self) -> None:
        """Take the steps whose time has come; skip one whose object is gone."""
        if self._started_s is None:
            return
        while (step := self._story.take(self._clock.monotonic() - self._started_s)) is not None:
            try:
                self.apply(step)
            except ScenarioError as exc:
                self._tell(f"skipped {step.word}: {exc}")

    async def run(self) -> None:
        """Take each step of the story at its time; return after the last one."""
        self.start()
        started_s = self._clock.monotonic() if self._started_s is None else self._started_s
        while (at := self._story.next_at()) is not None:
            await self._clock.sleep(max(0.0, started_s + at - self._clock.monotonic()))
            self.catch_up()

    def do(self, step: ScenarioStep | Mapping[str, Any]) -> ScenarioStep:
        """Take one step now; a mapping has the keys of a scenario's step.

        Raises:
            ScenarioError: It is no step, or means something that is not there.
        """
        parsed = step if isinstance(step, ScenarioStep) else parse_step(step)
        self.apply(parsed)
        return parsed

    def apply(self, step: ScenarioStep) -> None:
        """Take a step and tell about it."""
        self._world.now_s = self._clock.monotonic()
        step.apply(self._world)
        self._tell(step.text)

    def _tell(self, text: str) -> None:
        if self._on_step is not None:
            self._on_step(text)

    def reply(self, body: bytes, content_type: str) -> Reply:
        """Take the step in a request's body: TOML if the content type says so, else JSON."""
        try:
            if "toml" in content_type:
                data: Any = tomllib.loads(body.decode("utf-8"))
            else:
                data = msgspec.json.decode(body)
            if not isinstance(data, dict):
                return Failure(400, "send one step as an object").reply()
            step = self.do(data)
        except (tomllib.TOMLDecodeError, msgspec.DecodeError, UnicodeDecodeError):
            return Failure(400, "the body is neither JSON nor TOML").reply()
        except ScenarioError as exc:
            return Failure(400, str(exc)).reply()
        return Reply(msgspec.json.encode({"success": True, "data": {"done": step.word}}))
