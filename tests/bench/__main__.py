"""The command: `python -m tests.bench [ROW …]`."""

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TextColumn
from rich.table import Table

from tests.bench.row import Measured, Row
from tests.bench.rows import ROWS
from tests.bench.setting import Bench

_NAMES = ", ".join(row.name for row in ROWS)


def main(
    names: Annotated[list[str] | None, typer.Argument(metavar="[ROW]…", help=f"Of: {_NAMES}.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each row.")] = False,
    quick: Annotated[bool, typer.Option(help="Show that they run; the numbers mean little.")] = False,
) -> None:
    """Measure the goals of DESIGN.md, each row beside its goal.

    The daemon, the provider and the reference run as processes of their own on this machine, one row after
    the other; all of them take about ten minutes. Rows about CPU measure CPU time, and so bear a busy
    machine; ratios compare two processes that ran at the same time. The rows scrape, reach, start and
    backlog are wall time: leave the machine alone meanwhile. A stall counts as no longer than the CPU time
    the daemon used in it. Exits 1 if a goal is missed.
    """
    by_name = {row.name: row for row in ROWS}
    unknown = [name for name in names or () if name not in by_name]
    if unknown:
        raise typer.BadParameter(f"no such row: {', '.join(unknown)}; there are {_NAMES}")
    chosen = [by_name[name] for name in names] if names else list(ROWS)
    results = asyncio.run(_run(chosen, quick=quick))
    if as_json:
        for row, measured in results:
            typer.echo(json.dumps(_fields(row, measured)))
    else:
        Console().print(_table(results))
    if not quick and any(row.met(measured) is False for row, measured in results):
        raise typer.Exit(1)


async def _run(rows: list[Row], *, quick: bool) -> list[tuple[Row, Measured]]:
    results = []
    columns = (TextColumn("{task.description}"), *Progress.get_default_columns()[1:])
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        for row in rows:
            task = progress.add_task(row.name, total=1.0)

            def show(doing: str, part: float, task: int = task, name: str = row.name) -> None:
                progress.update(task, description=f"{name}: {doing}", completed=part)  # type: ignore[arg-type]  # a TaskID is an int

            with tempfile.TemporaryDirectory() as folder:
                bench = Bench(folder=Path(folder), quick=quick, progress=show)
                results.append((row, await row.run(bench)))
            progress.update(task, description=row.name, completed=1.0)
    return results


def _fields(row: Row, measured: Measured) -> dict[str, object]:
    return {
        "row": row.name,
        "title": row.title,
        "value": round(measured.value, 4),
        "unit": row.unit,
        "goal": row.goal,
        "met": row.met(measured),
        "detail": measured.detail,
    }


def _table(results: list[tuple[Row, Measured]]) -> Table:
    table = Table("row", "what", "measured", "goal", "met?", "detail")
    words = {True: "[green]yes[/]", False: "[red]no[/]", None: "-"}
    for row, measured in results:
        goal = "-" if row.goal is None else f"<= {row.goal:g} {row.unit}"
        value = f"{measured.value:.3g} {row.unit}"
        table.add_row(row.name, row.title, value, goal, words[row.met(measured)], measured.detail)
    return table


if __name__ == "__main__":
    typer.run(main)
