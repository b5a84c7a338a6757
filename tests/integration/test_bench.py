"""Every benchmark runs; what it measures is not for a test to judge."""

from pathlib import Path

import pytest

from tests.bench.row import Row
from tests.bench.rows import ROWS
from tests.bench.setting import Bench

_TWINS = {"scrape-stall", "idle-memory", "statements"}
"""They run what another row runs."""


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS if row.name not in _TWINS])
async def test_bench_gives_a_number(row: Row, tmp_path: Path) -> None:
    """Each row of the table can be measured."""
    measured = await row.run(Bench(folder=tmp_path, quick=True, progress=lambda _doing, _part: None))
    assert measured.value > 0
