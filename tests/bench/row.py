"""One row of the table: what is measured, and the goal for it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.bench.setting import Bench


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a row came to; `detail` is for people."""

    value: float
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A benchmark; `goal` is the most its value may be, None where none is set."""

    name: str
    title: str
    unit: str
    goal: float | None
    run: Callable[[Bench], Awaitable[Measured]]

    def met(self, measured: Measured) -> bool | None:
        """Return whether the goal is reached; None where there is none."""
        return None if self.goal is None else measured.value <= self.goal
