"""What all steps of a scenario have."""

from typing import Annotated

import msgspec

from monitor.simulator.world import World

Positive = Annotated[int, msgspec.Meta(ge=1)]
HttpStatus = Annotated[int, msgspec.Meta(ge=200, le=599)]
Ratio = Annotated[float, msgspec.Meta(ge=0, le=1)]


class ScenarioStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do"):
    """What all steps have."""

    at: str | float = 0
    say: str | None = None

    @property
    def word(self) -> str:
        """What the step is called in scenarios."""
        return str(self.__struct_config__.tag)

    @property
    def text(self) -> str:
        """What a person is told when the step is taken."""
        return self.say or self.word.replace("_", " ")

    def apply(self, world: World) -> None:
        """Change the world.

        Raises:
            ScenarioError: The step means something that is not there.
        """
        self._apply(world)

    def _apply(self, world: World) -> None:
        """Change the world, or nothing."""
