"""Exit codes, errors, and that the catalog tells the truth about every command."""

import errno
import importlib
import inspect
import io
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from monitor import __version__
from monitor.cli.catalog import CATALOG, PROGRAM, Entry
from monitor.cli.main import LazyCommand, build_group, run
from monitor.cli.shell import shell_of
from monitor.errors import ConfigError, StoreUnavailable

CONTRACT = {
    *("run", "sync", "check-config", "connections", "drift", "changes", "alerts", "deliveries"),
    *("accept", "simulate", "demo", "store copy", "config-schema", "healthcheck"),
}

BY_NAME = {entry.name: entry for entry in CATALOG}


def ran(*arguments: str, build: Callable[[], TyperGroup] = build_group) -> tuple[int, str, str]:
    """Return the exit code, standard output and standard error of a command."""
    out, err = io.StringIO(), io.StringIO()
    return run(arguments, out, err, build), out.getvalue(), err.getvalue()


def documented(entry: Entry) -> str:
    """Return what stands in the docstring of a command."""
    module, _, name = entry.target.partition(":")
    return inspect.cleandoc(getattr(importlib.import_module(f"monitor.cli.{module}"), name).__doc__)


def paragraph(entry: Entry, title: str) -> list[str]:
    """Return the lines of a command's docstring below a title."""
    _, _, after = documented(entry).partition(f"\n{title}\n")
    return [line.strip() for line in after.partition("\n\n")[0].splitlines()]


def failing(error: BaseException, *, debug: bool = False) -> Callable[[], TyperGroup]:
    """Return a command line whose one command, `fail`, raises an error."""

    def begin(ctx: typer.Context) -> None:
        shell_of(ctx).debug = debug

    def build() -> TyperGroup:
        app = typer.Typer(rich_markup_mode=None)

        def fail() -> None:
            raise error

        app.callback()(begin)
        app.command("fail")(fail)
        group = typer.main.get_command(app)
        assert isinstance(group, TyperGroup)
        return group

    return build


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            ConfigError(["a: wrong", "b: missing"], "x.toml"),
            2,
            "error: x.toml: a: wrong\nerror: x.toml: b: missing\n",
        ),
        (StoreUnavailable("the store did not answer"), 2, "error: the store did not answer\n"),
        (OSError(errno.EMFILE, "x"), 70, "error: out of file descriptors\n"),
        (KeyboardInterrupt(), 130, ""),
        (typer.Exit(3), 3, ""),
    ],
    ids=["config", "store", "descriptors", "interrupt", "exit"],
)
def test_errors_of_users_are_lines(error: BaseException, code: int, said: str) -> None:
    """Each problem is a line of its own; an interrupt is quiet."""
    assert ran("fail", build=failing(error)) == (code, "", said)


def test_bugs_are_one_line_without_data() -> None:
    """An unexpected error exits 70, says its kind, and repeats nothing it holds."""
    code, out, err = ran("fail", build=failing(KeyError("rg_live_secret")))
    assert (code, out) == (70, "")
    assert err.startswith("error: this is a bug in voicelink-monitor")
    assert "KeyError" in err
    assert "rg_live" not in err
    assert len(err.splitlines()) == 1


def test_debug_shows_where_a_bug_is() -> None:
    """With --debug a bug shows its traceback."""
    _, _, err = ran("fail", build=failing(KeyError("x"), debug=True))
    assert "Traceback" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bogus"], "error: No such command 'bogus'.\ntry: voicelink-monitor --help\n"),
        (["sync", "--nope"], "error: No such option: --nope\ntry: voicelink-monitor sync --help\n"),
        (["drift", "--since", "yesterday"], "error: Invalid value for --since"),
        (["drift", "--status", "odd"], "error: Invalid value for '--status'"),
        (["silence", "list", "--limit", "9" * 20], "error: Invalid value for '--limit'"),
        (["ack", "\udcff"], "error: Invalid value: arguments are text in UTF-8"),
        (["deliveries", "--status", "odd"], "error: Invalid value for --status"),
        (["demo", "--duration", "soon"], "error: Invalid value for --duration"),
        (["demo", "--duration", "0s"], "error: Invalid value for --duration: must be longer than zero"),
        (["drift", "--format", "xml"], "error: Invalid value for '--format': 'xml' is not one of 'table'"),
        (["drift", "--connection", ""], "error: Invalid value for '--connection': must not be empty"),
        (["silence", "end", ""], "error: Invalid value for 'ID': must not be empty"),
        (["sync", "acme", ""], "error: Invalid value for 'CONNECTION': must not be empty"),
        (["accept"], "error: Missing argument 'connection'"),
        (["store", "bogus"], "error: No such command 'bogus'.\ntry: voicelink-monitor store --help\n"),
        (["store", "copy"], "error: Invalid value: give either --to or --to-file"),
        (["store", "copy", "--to", "bogus"], "error: Invalid value for --to: write it like"),
        (["store", "copy", "--to", "postgresql://h:0/x"], "error: Invalid value for --to: its port is not"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_usage_errors_exit_2_and_say_what_to_do(arguments: list[str], said: str) -> None:
    """What was wrong, and where the help is."""
    code, out, err = ran(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(said)


def test_catalog_has_the_commands_of_the_contract() -> None:
    """None of them may be missing."""
    assert set(BY_NAME) >= CONTRACT


@pytest.mark.parametrize("entry", CATALOG, ids=lambda entry: entry.name)
def test_help_tells_exit_codes_and_examples(entry: Entry, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command's --help has a sentence, its exit codes and examples."""
    code, _, _ = ran(*entry.name.split(), "--help")
    shown = capsys.readouterr().out
    assert code == 0
    about = documented(entry).partition("Exit codes:")[0]
    assert " ".join(about.split()) in " ".join(shown.split())
    exits = paragraph(entry, "Exit codes:")
    assert exits[0].startswith("0  ")
    for line in exits:
        assert re.match(r"[0-9]+  [a-z]", line)
        assert f"  {line}\n" in shown
    examples = paragraph(entry, "Examples:")
    assert examples
    for line in examples:
        assert line.startswith(f"{PROGRAM} ")
        assert f"  {line}\n" in shown


@pytest.mark.parametrize(
    ("name", "example"),
    [(entry.name, example) for entry in CATALOG for example in paragraph(entry, "Examples:")],
    ids=lambda value: value,
)
def test_examples_parse(name: str, example: str) -> None:
    """Every example is a command line that the program takes."""
    words = shlex.split(example.partition(" > ")[0])
    after = words[words.index(name.rpartition(" ")[2]) + 1 :]
    command: Any = build_group()
    for word in name.split():
        command = command.commands[word]
    assert isinstance(command, LazyCommand)
    command.load().make_context(name, after, resilient_parsing=False)


def test_examples_would_not_parse_if_they_were_wrong() -> None:
    """The test above can fail."""
    command = build_group().commands["sync"]
    assert isinstance(command, LazyCommand)
    with pytest.raises(Exception, match="No such option"):
        command.load().make_context("sync", ["--bogus"])


def test_without_arguments_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing asked is a usage error with the list of commands."""
    assert ran()[0] == 2
    assert "config-schema" in capsys.readouterr().out


def test_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing but the version."""
    assert ran("--version")[0] == 0
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize("place", ["before", "after"])
def test_config_may_stand_before_or_after_the_command(place: str, tmp_path: Path) -> None:
    """Both places mean the same file."""
    file = str(tmp_path / "none.toml")
    given = ("--config", file, "sync") if place == "before" else ("sync", "-c", file)
    code, _, err = ran(*given)
    assert (code, err) == (2, f"error: {file}: the config file cannot be read: No such file or directory\n")


@pytest.mark.parametrize("form", [[], ["--format", "json"]], ids=["plain", "as every command"])
def test_schema_is_printed_as_json(form: list[str]) -> None:
    """It goes to the given standard output, and is JSON."""
    code, out, err = ran("config-schema", *form)
    assert (code, err) == (0, "")
    assert out.startswith("{")
    found = json.loads(out)
    assert "accounts" in found["properties"]
