"""Every benchmark runs; what it measures is not for a test to judge."""

import math
import time
from pathlib import Path

import pytest

from tests.bench.others import compare
from tests.bench.provider import Provider
from tests.bench.row import Row
from tests.bench.rows import CURVES, ROWS
from tests.bench.setting import Bench, Fleet
from tests.bench.tools import TOOLS, Job, Tool

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


async def test_others_are_measured_and_show_what_changes(tmp_path: Path) -> None:
    """Of the tools, those that need no packages of Debian; the monitor sends a message, the script none."""
    own = [tool for tool in TOOLS if not tool.packages]
    found = await compare(own, connections=3, every_s=1, seconds=1, tls=False, folder=tmp_path)
    assert {each.tool.name: each.told_s is not None for each in found} == {
        "this monitor": True,
        "script": False,
    }
    assert all(each.cpu_ms >= 0 and each.rss_mib > 0 and each.shown_s > 0 for each in found)


@pytest.mark.parametrize("tool", [pytest.param(tool, id=tool.name) for tool in TOOLS])
def test_other_tool_is_told_of_every_connection(tool: Tool, tmp_path: Path) -> None:
    """Whether or not it is installed, its files name them all."""
    fleet = Fleet(name=tool.prefix, connections=3, interval="1s")
    job = Job(url="http://127.0.0.1:1", fleet=fleet, every_s=1, folder=tmp_path, port=1, ca_file=None)
    assert tool.set_up(job)
    written = "".join(file.read_text(encoding="utf-8") for file in tmp_path.iterdir())
    assert [identity for identity in job.ids().values() if identity not in written] == []
