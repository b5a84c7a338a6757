"""What commands write, and where."""

import io
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from monitor.cli import records
from monitor.cli.terminal import Terminal, cell, printable
from monitor.secret import Secret


class Screen(io.StringIO):
    """A stream that somebody watches."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (True, "yes"),
        (datetime(2026, 3, 1, 12, 0, 7, tzinfo=UTC), "2026-03-01 12:00:07Z"),
        (("NO_BOT", "EXPIRED"), "NO_BOT, EXPIRED"),
        ((), "-"),
        ("", ""),
        ("[bold]x[/bold]", "[bold]x[/bold]"),
        ("a\x1b[31mb\nc", "a�[31mb�c"),
        (0, "0"),
    ],
    ids=["none", "bool", "instant", "list", "empty list", "empty", "markup", "escape", "zero"],
)
def test_cell_shows_values_for_people(value: Any, shown: str) -> None:
    """Texts from outside neither colour the terminal nor move its cursor."""
    assert cell(value).plain == shown


def test_json_is_alone_on_standard_output() -> None:
    """Notes, warnings and errors go beside the data."""
    out, err = io.StringIO(), io.StringIO()
    terminal = Terminal(out, err)
    terminal.note("a note")
    terminal.json([{"at": datetime(2026, 3, 1, tzinfo=UTC)}])
    terminal.warning("odd")
    terminal.error("bad\nworse")
    assert json.loads(out.getvalue()) == [{"at": "2026-03-01T00:00:00.000Z"}]
    assert err.getvalue() == "a note\nwarning: odd\nerror: bad\nerror: worse\n"


def test_tables_are_whole_where_nobody_watches() -> None:
    """Nothing is cut, wrapped or coloured in a pipe."""
    out = io.StringIO()
    Terminal(out, io.StringIO()).table(("one", "two"), [("x" * 300, "critical")])
    assert f"{'x' * 300}   critical" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_a_pipe_stays_plain_whatever_the_environment_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build servers set FORCE_COLOR for all; colours and bars are for terminals alone."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    out, err = io.StringIO(), io.StringIO()
    terminal = Terminal(out, err)
    terminal.table(("one",), [("critical",)])
    with terminal.progress("checking", 3) as advance:
        advance(1)
    assert "\x1b" not in out.getvalue() + err.getvalue()


def test_no_color_leaves_plain_text_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither colours nor bold and dim."""
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = []
    for value in ("", "1"):
        monkeypatch.setenv("NO_COLOR", value)
        out = Screen()
        Terminal(out, io.StringIO()).table(("one", "two"), [("critical", None)])
        shown.append("\x1b" in out.getvalue())
    assert shown == [True, False]


def test_progress_shows_nothing_where_nobody_watches() -> None:
    """A bar is for people; so is one over a single thing."""
    for err, total in ((io.StringIO(), 5), (Screen(), 1)):
        with Terminal(io.StringIO(), err).progress("checking", total) as advance:
            advance(1)
        assert "checking" not in err.getvalue()


def test_progress_shows_a_bar_to_who_watches() -> None:
    """Several things on a terminal have a bar, on standard error."""
    err = Screen()
    with Terminal(io.StringIO(), err).progress("checking", 3) as advance:
        advance(1)
    assert "checking" in err.getvalue()


def test_printable_keeps_letters_of_all_scripts() -> None:
    """Only what is no letter to look at goes."""
    assert printable("बिक्री ✓ ü\x07") == "बिक्री ✓ ü�"


_COLUMNS = ("connection", "number", "since", "what to do", "alert")
_ROW = (
    "acme-sales",
    "+918011223344",
    datetime(2026, 3, 1, 12, 0, 7, tzinfo=UTC),
    "Create an active VoiceLink WebSocket bot for the mapped client",
    "d48a2b2e2d174a072d893feb",
)


def lines_of(out: Screen) -> list[str]:
    """Return what a terminal shows, without colours."""
    return re.sub("\x1b\\[[0-9;]*m", "", out.getvalue()).splitlines()


@pytest.mark.parametrize("width", [200, 100, 80, 60, 40])
def test_tables_lose_no_column_and_break_no_number(width: int) -> None:
    """Numbers and instants stay whole; what has no room beside goes below its row, by its name."""
    out = Screen()
    Terminal(out, io.StringIO(), width=width).table(_COLUMNS, [_ROW, _ROW], spare=("alert", "what to do"))
    lines = lines_of(out)
    shown = "\n".join(lines)
    assert all(len(line) <= width for line in lines)
    assert shown.count("2026-03-01 12:00:07Z") == shown.count("+918011223344") == 2
    if width > 60:  # below that, names are broken
        assert all(name in shown for name in _COLUMNS)
        assert shown.count("d48a2b2e2d174a072d893feb") == 2
        assert " ".join(shown.split()).count("Create an active VoiceLink WebSocket") >= (width > 100)


def test_columns_stand_below_each_other() -> None:
    """Also where a row has more to say below."""
    out = Screen()
    rows = [("a", "+1", _ROW[2], "x", "y" * 30), ("acme-sales" * 3, "+918011223344", _ROW[2], "z" * 50, "y")]
    Terminal(out, io.StringIO(), width=80).table(_COLUMNS, rows, spare=("alert", "what to do"))
    assert len({line.index("2026-03-01") for line in lines_of(out) if "2026" in line}) == 1


_LISTINGS = [records._DRIFT, records._CHANGES, records._ALERTS, records._DELIVERIES]


@pytest.mark.parametrize("listing", _LISTINGS, ids=lambda each: each.noun)
def test_no_list_loses_a_column_at_80_characters(listing: records.Listing) -> None:
    """With ordinary values, every column of every list is there, and every value in one piece."""
    values: dict[str, Any] = {name: name.upper().replace(" ", "_") for name in listing.columns}
    values |= dict.fromkeys({"at", "since", "started", "queued"} & values.keys(), _ROW[2])
    prose = {"what to do", "summary", "answer", "moved"} & values.keys()
    values |= dict.fromkeys({"state", "issues", "was", "is"} & values.keys(), "NO_VOCOBASE_AGENT")
    values |= dict.fromkeys({"alert", "delivery", "part of"} & values.keys(), "d48a2b2e2d174a072d893feb")
    values |= dict.fromkeys({"number"} & values.keys(), "+918011223344") | dict.fromkeys(prose, _ROW[3])
    out = Screen()
    Terminal(out, io.StringIO(), width=80).table(
        listing.columns, [[values[name] for name in listing.columns]], spare=listing.spare
    )
    shown = "\n".join(lines_of(out))
    assert all(name in shown for name in listing.columns)
    assert all(cell(values[name]).plain in shown for name in values.keys() - prose)


def test_no_way_of_writing_shows_a_secret_of_the_config() -> None:
    """The last wall of commands: data, notes, errors and tracebacks; what is no secret stays as it is."""
    out, err = io.StringIO(), io.StringIO()
    terminal = Terminal(out, err)
    terminal.redactor.learn([Secret("rg_live_s3cr3t")])
    said = "key rg_live_s3cr3t of acme"
    terminal.json({"error": said, "numbers": [1, None, {said: said}]})
    terminal.table(["error", "errors"], [[said, (said, "fine")]])
    terminal.line(said)
    terminal.warning(said)
    terminal.error(f"{said}\n{said}")
    try:
        int(said)
    except ValueError:
        terminal.debug()
    written = out.getvalue() + err.getvalue()
    assert "s3cr3t" not in written
    assert written.count("key *** of acme") >= 10
