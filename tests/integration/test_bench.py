"""Every benchmark runs; what it measures is not for a test to judge."""

import math
from pathlib import Path

import pytest

from tests.bench.row import Row
from tests.bench.rows import ROWS
from tests.bench.setting import Bench


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS])
async def test_bench_gives_a_number(row: Row, tmp_path: Path) -> None:
    """Each value of the table can be measured."""
    measured = await row.run(Bench(folder=tmp_path, quick=True, progress=lambda _doing, _part: None))
    assert len(measured) == len(row.values)
    assert all(math.isfinite(each.value) and each.value >= 0 for each in measured)
