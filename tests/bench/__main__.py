"""The command: `python -m tests.bench [ROW …]`."""

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import Progress, TextColumn
from rich.table import Table

from tests.bench.machine import machine
from tests.bench.row import Curve, Measured, Row, Value
from tests.bench.rows import CURVES, ROWS
from tests.bench.setting import Bench

T = TypeVar("T")
Result = tuple[Row, Value, Measured]

_BY_NAME = {row.name: row for row in ROWS}
_BAR = 50
"""Characters of a plot's longest bar."""


def main(
    names: Annotated[list[str] | None, typer.Argument(metavar="[ROW]…", help=", ".join(_BY_NAME))] = None,
    *,
    curves: Annotated[bool, typer.Option(help=f"Plot growth instead: {', '.join(CURVES)}.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    quick: Annotated[bool, typer.Option(help="Show that they run; the numbers mean little.")] = False,
) -> None:
    """Measure speed and size, each value beside its goal, or how costs grow.

    The daemon, the provider and the reference run as processes of their own on this machine, one row after
    the other; all rows take about half an hour. What a ratio compares is measured at the same time, in CPU
    time, and so bears a busy machine. The rows reach and start are wall time: leave the machine alone
    meanwhile. A stall counts as no longer than the CPU time the daemon used in it. Exits 1 if one is missed.
    """
    known = list(CURVES if curves else _BY_NAME)
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise typer.BadParameter(f"no such row: {', '.join(unknown)}; there are {', '.join(known)}")
    about, chosen = machine(), names or known
    if as_json:
        typer.echo(json.dumps({"machine": about}))
    else:
        typer.echo(", ".join(f"{key} {value}" for key, value in about.items()))
    if curves:
        _plot_curves(chosen, quick=quick, as_json=as_json)
        return
    results = _measure(chosen, quick=quick, as_json=as_json)
    if not as_json:
        Console().print(_table(results))
    if not quick and any(value.met(found) is False for _, value, found in results):
        raise typer.Exit(1)


def _plot_curves(names: Sequence[str], *, quick: bool, as_json: bool) -> None:
    def draw(name: str, points: list[tuple[int, float]]) -> None:
        typer.echo(json.dumps(_curve_fields(name, points)) if as_json else _plot(CURVES[name], points))

    asyncio.run(_each(names, lambda name, bench: CURVES[name].points(bench), draw, quick=quick))


def _measure(names: Sequence[str], *, quick: bool, as_json: bool) -> list[Result]:
    results: list[Result] = []

    def note(name: str, measured: Sequence[Measured]) -> None:
        row = _BY_NAME[name]
        for value, found in zip(row.values, measured, strict=True):
            results.append((row, value, found))
            if as_json:  # at once: a later row may fail
                typer.echo(json.dumps(_fields(row, value, found)))

    asyncio.run(_each(names, lambda name, bench: _BY_NAME[name].run(bench), note, quick=quick))
    return results


async def _each(
    names: Sequence[str],
    run: Callable[[str, Bench], Awaitable[T]],
    done: Callable[[str, T], None],
    *,
    quick: bool,
) -> None:
    columns = (TextColumn("{task.description}"), *Progress.get_default_columns()[1:])
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        for name in names:
            task = progress.add_task(name, total=1.0)

            def show(doing: str, part: float, task: int = task, name: str = name) -> None:
                progress.update(task, description=f"{name}: {doing}", completed=part)  # type: ignore[arg-type]  # a TaskID is an int

            with tempfile.TemporaryDirectory() as folder:
                done(name, await run(name, Bench(folder=Path(folder), quick=quick, progress=show)))
            progress.update(task, description=name, completed=1.0)


def _fields(row: Row, value: Value, measured: Measured) -> dict[str, object]:
    return {
        "row": row.name,
        "title": value.title,
        "value": round(measured.value, 4),
        "unit": value.unit,
        "goal": value.goal,
        "met": value.met(measured),
        "detail": measured.detail,
    }


def _table(results: list[Result]) -> Table:
    table = Table("row", "what", "measured", "goal", "met?", "detail")
    words = {True: "[green]yes[/]", False: "[red]no[/]", None: "-"}
    for row, value, measured in results:
        goal = "-" if value.goal is None else f"<= {value.goal:g} {value.unit}"
        shown = f"{measured.value:.3g} {value.unit}"
        table.add_row(row.name, value.title, shown, goal, words[value.met(measured)], measured.detail)
    return table


def _curve_fields(name: str, points: list[tuple[int, float]]) -> dict[str, object]:
    curve = CURVES[name]
    return {"curve": name, "of": curve.of, "unit": curve.unit, "points": points}


def _plot(curve: Curve, points: list[tuple[int, float]]) -> str:
    most = max(cost for _, cost in points)
    bars = [f"{size:>10,}  {cost:9.3f}  {'█' * round(cost / most * _BAR)}" for size, cost in points]
    return "\n".join([f"\n{curve.of}: {curve.unit}", *bars])


if __name__ == "__main__":
    typer.run(main)
