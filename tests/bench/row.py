"""A row of the table: what is measured together, and the goal of each of its values."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.setting import Bench

_QUICK = 100
"""By so much a quick run makes the sizes of a curve smaller."""

Together = Callable[[], Awaitable[object]]
"""Waits until all sizes of a curve are ready: whatever else the machine does then slows all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a value came to; `detail` is for people."""

    value: float
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A value of a row; `goal` is the most that it may be, None where none is set."""

    title: str
    unit: str = "x"
    goal: float | None = None

    def met(self, measured: Measured) -> bool | None:
        """Return whether the goal is reached; None where there is none."""
        return None if self.goal is None else measured.value <= self.goal


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A benchmark; `run` measures its values, in their order."""

    name: str
    values: Sequence[Value]
    run: Callable[[Bench], Awaitable[Sequence[Measured]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """How a cost grows with the size of something.

    Args:
        of: What `sizes` count.
        sizes: From the smallest to the largest.
        unit: Of the cost.
        cost: Measures one size.
    """

    of: str
    sizes: Sequence[int]
    unit: str
    cost: Callable[[Bench, int, Together], Coroutine[Any, Any, float]]

    async def ratio(self, bench: Bench) -> Sequence[Measured]:
        """Return the cost at the largest size / at the smallest."""
        (_, small), (_, large) = await self.points(bench, (self.sizes[0], self.sizes[-1]))
        return [Measured(value=large / small, detail=f"{small:.3g} {self.unit}, {large:.3g} {self.unit}")]

    async def points(self, bench: Bench, sizes: Sequence[int] = ()) -> list[tuple[int, float]]:
        """Return the cost at each of these sizes, or at all, measured at the same time."""
        sizes = [size // _QUICK if bench.quick else size for size in sizes or self.sizes]
        barrier = asyncio.Barrier(len(sizes))
        async with asyncio.TaskGroup() as group:
            costs = [group.create_task(self.cost(bench, size, barrier.wait)) for size in sizes]
        return [(size, cost.result()) for size, cost in zip(sizes, costs, strict=True)]
