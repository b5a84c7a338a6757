"""What commands write: data on standard output, everything else on standard error."""

import contextlib
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, TextIO

import msgspec
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from monitor.cli.streams import queued
from monitor.clock import rfc3339
from monitor.http.redactor import Redactor

_WIDE = 10_000
"""Off a terminal nothing is cut or wrapped."""
_GAP = 3
"""Between two columns."""
_READABLE = 30
"""A column of sentences may be as narrow as this; one of names, numbers and instants is never broken."""

_STYLES = {
    "critical": "bold red",
    "warning": "yellow",
    "firing": "red",
    "alerting": "red",
    "pending": "yellow",
    "dead": "red",
    "held": "yellow",
    "ok": "green",
    "delivered": "green",
    "resolved": "green",
    "ignored": "dim",
    "ending": "green",
}


class Format(StrEnum):
    """How data is written."""

    TABLE = "table"
    JSON = "json"


class Terminal:
    """Standard output and standard error, with colours on terminals.

    Args:
        out: For data alone.
        err: For progress, notes and errors.
        width: Of the terminal, in columns; None: as it says itself.
    """

    def __init__(self, out: TextIO, err: TextIO, *, width: int | None = None) -> None:
        self._out = out
        self._err = err
        self._console = _console(out, width)
        self._notes = _console(err, width)
        self.redactor = Redactor()
        """Hides, as a last wall, the secrets that a command's config names."""

    @property
    def watched(self) -> bool:
        """Whether standard error is a terminal."""
        return self._notes.is_terminal

    def json(self, value: Any) -> None:
        """Write one JSON document."""
        shown = msgspec.json.encode(plain(value))
        if self.redactor.hide(text := shown.decode()) != text:
            shown = msgspec.json.encode(self.redactor.hide_in(msgspec.json.decode(shown)))
        text = msgspec.json.format(shown, indent=2).decode()
        self._out.write(text + "\n")
        self._out.flush()

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, spare: Sequence[str] = ()
    ) -> frozenset[str]:
        """Write a table; words that mean something have a colour.

        Args:
            columns: Their names.
            rows: A value for each column.
            spare: Columns that are left out, in this order, where the terminal is too narrow for all.

        Returns:
            The columns that were left out.
        """
        cells = [[cell(self.redactor.hide_in(value)) for value in row] for row in rows]
        fits = [_Fit.of(name, [row[index] for row in cells]) for index, name in enumerate(columns)]
        out = _left_out(fits, spare, self._console.width)
        left = [index for index, name in enumerate(columns) if name not in out]
        fold = _needed([fits[index] for index in left]) > self._console.width
        shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
        for index in left:
            shown.add_column(columns[index], overflow="fold", no_wrap=not (fold or fits[index].wraps))
        for row in cells:
            shown.add_row(*(row[index] for index in left))
        self._print(shown)
        if out:
            self.note(f"for a wider terminal, or --format json: {', '.join(out)}", style="dim")
        return frozenset(out)

    def line(self, text: str = "", style: str = "") -> None:
        """Write a line of data."""
        self._print(Text(printable(self.redactor.hide(text)), style=style))

    def note(self, text: str, style: str = "") -> None:
        """Write a line beside the data."""
        self._notes.print(Text(printable(self.redactor.hide(text)), style=style), soft_wrap=True)

    def warning(self, text: str) -> None:
        """Write what is questionable."""
        self.note(f"warning: {text}", style="yellow")

    def error(self, text: str) -> None:
        """Write what is wrong, a line for each of its lines."""
        for line in text.splitlines():
            self.note(f"error: {line}", style="red")

    def debug(self) -> None:
        """Write the traceback of the exception that is being handled."""
        for line in self.redactor.hide(traceback.format_exc()).splitlines():
            self.note(line)

    @contextlib.contextmanager
    def progress(self, doing: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show a bar while there are several things to do on a terminal; give what moves it on."""
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._notes,
            transient=True,
            disable=not self.watched or total <= 1,
        )
        with bar:
            task = bar.add_task(doing, total=total)
            yield lambda done: bar.advance(task, done)

    @contextlib.contextmanager
    def unhurried(self, on_lost: Callable[[], None]) -> Iterator["Terminal"]:
        """Give one that writes data from a thread, for a command that must go on while no one reads it.

        Args:
            on_lost: Called, in any thread, when something could not be written.

        Raises:
            OutputFailed: Something could not be written.
        """
        with queued(self._out, on_lost) as out:
            terminal = Terminal(out, self._err)
            terminal.redactor = self.redactor
            yield terminal

    def _print(self, what: Any) -> None:
        self._console.print(what, soft_wrap=isinstance(what, Text))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fit:
    """How wide a column is at the least; `wraps`: it holds sentences, which may go on in the next line."""

    name: str
    width: int
    wraps: bool

    @classmethod
    def of(cls, name: str, cells: Sequence[Text]) -> "_Fit":
        natural = max((each.cell_len for each in cells), default=0)
        wraps = natural > _READABLE and any(" " in each.plain for each in cells)
        return cls(name=name, width=max(_READABLE if wraps else natural, cell_len(name)), wraps=wraps)


def _left_out(fits: Sequence[_Fit], spare: Sequence[str], width: int) -> list[str]:
    """Return the columns to leave out so that the others fit into a width, if leaving out can do it."""
    out: list[str] = []
    for name in spare:
        if _needed([fit for fit in fits if fit.name not in out]) <= width:
            break
        out.append(name)
    return out


def _needed(fits: Sequence[_Fit]) -> int:
    return sum(fit.width for fit in fits) + _GAP * (len(fits) - 1)


def cell(value: Any) -> Text:
    """Return a value as a table shows it."""
    match value:
        case None:
            return Text("-", style="dim")
        case bool():
            return Text("yes" if value else "no")
        case datetime():
            return Text(instant(value))
        case list() | tuple():
            return Text(printable(", ".join(map(str, value))) or "-")
        case _:
            text = printable(str(value))
            return Text(text, style=_STYLES.get(text, ""))


def instant(at: datetime) -> str:
    """Return an instant as tables show it, UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def printable(text: str) -> str:
    """Return a text without what could move a terminal's cursor or colour it."""
    return "".join(each if each.isprintable() else "�" for each in text)


def _console(stream: TextIO, width: int | None) -> Console:
    watched = stream.isatty()
    return Console(
        file=stream,
        width=width if watched else _WIDE,
        # rich would believe FORCE_COLOR, which a build server sets for all, more than the pipe itself; and
        # where NO_COLOR is set (it says so as `no_color`), would still print bold and dim.
        force_terminal=watched,
        color_system=None if Console(file=stream).no_color else "auto",
        highlight=False,
        markup=False,
        emoji=False,
    )


def plain(value: Any) -> Any:
    """Return dataclasses and structs as objects, instants like the log's, durations as seconds."""
    match value:
        case datetime():
            return rfc3339(value)
        case timedelta():
            return value.total_seconds()
        case dict():
            return {str(key): plain(each) for key, each in value.items()}
        case list() | tuple() | frozenset():
            return [plain(each) for each in value]
        case _ if is_dataclass(value):
            return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
        case _:
            names = getattr(value, "__struct_fields__", ())
            return {name: plain(getattr(value, name)) for name in names} if names else value
