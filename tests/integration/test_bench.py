"""Every benchmark runs; what it measures is not for a test to judge."""

import math
import time
from pathlib import Path

import pytest

from tests.bench.provider import Provider
from tests.bench.row import Row
from tests.bench.rows import CURVES, ROWS
from tests.bench.setting import Bench

_ALONE = sorted(CURVES.keys() - {row.name for row in ROWS})
"""The curves whose ends are no row."""


def quick(folder: Path) -> Bench:
    """Return how a test runs a benchmark."""
    return Bench(folder=folder, quick=True, progress=lambda _doing, _part: None)


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS])
async def test_bench_gives_a_number(row: Row, tmp_path: Path) -> None:
    """Each value of the table can be measured."""
    measured = await row.run(quick(tmp_path))
    assert len(measured) == len(row.values)
    assert all(math.isfinite(each.value) and each.value >= 0 for each in measured)


@pytest.mark.parametrize("name", _ALONE)
async def test_curve_has_a_point_for_each_size(name: str, tmp_path: Path) -> None:
    """Each size of a curve can be measured."""
    points = await CURVES[name].points(quick(tmp_path))
    assert len(points) == len(CURVES[name].sizes)
    assert all(cost > 0 for _, cost in points)


def test_reference_is_given_the_bunches_in_which_the_daemon_asked() -> None:
    """Requests that follow each other at once are one bunch; who else asked, and earlier, is left out."""
    provider, now_s = Provider(1, 0, {}), time.monotonic()
    came = {"a-1": -90, "b-1": -49.9, "a-2": -50, "a-3": -49.99, "a-4": -49.98, "a-5": -20}
    provider.times_s.extend(sorted(((name, now_s + at_s) for name, at_s in came.items()), key=lambda e: e[1]))
    bunches = provider.bunches("a-", 60)
    assert [many for _, many in bunches] == [3, 1]
    (first_s, _), (second_s, _) = bunches
    assert second_s - first_s == pytest.approx(30)
