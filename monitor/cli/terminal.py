"""What commands write: data on standard output, everything else on standard error."""

import contextlib
import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from operator import attrgetter
from typing import Any, TextIO

import msgspec
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from monitor.cli.streams import queued
from monitor.clock import rfc3339
from monitor.http.redactor import Redactor
from monitor.store.export import csv_of

_WIDE = 10_000
"""Off a terminal nothing is cut or wrapped."""
_GAP = 3
"""Between two columns."""
_READABLE = 30
"""A column of sentences may be as narrow as this before columns go below their row."""
_NARROWEST = 8
"""A column of names, where even that does not suffice."""
_INDENT = 4
"""Of what stands below its row."""
_WHOLE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ|\+?\d+")
"""An instant or a number; never broken."""

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
    "silenced": "dim",
    "ending": "green",
}


class Format(StrEnum):
    """How data is written."""

    TABLE = "table"
    JSON = "json"


class ListFormat(StrEnum):
    """How a list is written: as other data, or as CSV."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


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

    def csv(self, rows: Sequence[Sequence[Any]]) -> None:
        """Write rows as CSV."""
        self._out.write(csv_of([[self.redactor.hide_in(value) for value in row] for row in rows]))
        self._out.flush()

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, spare: Sequence[str] = ()
    ) -> None:
        """Write a table; words that mean something have a colour.

        Args:
            columns: Their names.
            rows: A value for each column.
            spare: Columns that go below their row, in this order, where the terminal is too narrow for all.
        """
        cells = [[cell(self.redactor.hide_in(value)) for value in row] for row in rows]
        fits = [_Fit.of(name, [row[index] for row in cells]) for index, name in enumerate(columns)]
        spared = _below(fits, spare, self._console.width)
        below = [index for index, name in enumerate(columns) if name in spared]
        beside = [index for index, name in enumerate(columns) if name not in spared]
        widths = _widths([fits[index] for index in beside], self._console.width)

        def grid(row: Sequence[Text] = ()) -> Table:
            shown = Table(
                box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False, show_header=not row
            )
            for index, width in zip(beside, widths, strict=True):
                # Minimal and maximal: a column of a row stands below that of the row before.
                shown.add_column(columns[index], overflow="fold", min_width=width, max_width=width)
            if row:
                shown.add_row(*(row[index] for index in beside))
            return shown

        self._print(grid())
        for row in cells:
            self._print(grid(row))
            said = [Text.assemble((f"{columns[index]}: ", "dim"), row[index]) for index in below]
            for line in _packed(said, self._console.width - _INDENT):
                self._console.print(Padding(line, (0, 0, 0, _INDENT), expand=False))

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
    """How wide a column would be, and where its sentences go on in the next line; `whole`: never broken."""

    name: str
    natural: int
    least: int
    whole: bool

    @classmethod
    def of(cls, name: str, cells: Sequence[Text]) -> "_Fit":
        longest = max((each.cell_len for each in cells), default=0)
        natural = max(longest, cell_len(name))
        sentences = longest > _READABLE and any(" " in each.plain for each in cells)
        whole = any(_WHOLE.fullmatch(each.plain) for each in cells)
        return cls(
            name=name,
            natural=natural,
            least=_READABLE if sentences else natural,
            whole=whole and not sentences,
        )

    @property
    def narrowest(self) -> int:
        """Its width where names, too, are broken."""
        return self.natural if self.whole else min(self.natural, _NARROWEST)


def _below(fits: Sequence[_Fit], spare: Sequence[str], width: int) -> list[str]:
    """Return the columns to put below their row so that the others fit into a width."""
    below: list[str] = []
    stages = [(name, attrgetter("least")) for name in spare]
    stages += [(fit.name, attrgetter("narrowest")) for fit in reversed(fits[1:]) if fit.name not in spare]
    for name, least in stages:
        if _needed([least(fit) for fit in fits if fit.name not in below]) > width:
            below.append(name)
    return below


def _widths(fits: Sequence[_Fit], width: int) -> list[int]:
    """Return how wide columns are: sentences give way first, then names, instants and numbers never."""
    widths = [fit.natural for fit in fits]
    for floor in ([fit.least for fit in fits], [fit.narrowest for fit in fits]):
        while _needed(widths) > width:
            widest = max(range(len(fits)), key=lambda index: widths[index] - floor[index])
            if widths[widest] <= floor[widest]:
                break
            widths[widest] -= 1
    return widths


def _packed(pieces: Sequence[Text], width: int) -> list[Text]:
    """Return pieces in lines, none of them broken unless it is longer than a line."""
    lines: list[Text] = []
    for piece in pieces:
        if lines and lines[-1].cell_len + 2 + piece.cell_len <= width:
            lines[-1] = Text(", ").join([lines[-1], piece])
        else:
            lines.append(piece)
    return lines


def _needed(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


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
