"""From arguments to an exit code: builds the command line, and reports every error in one line."""

import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption
from typer.exceptions import TyperException

from monitor import __version__
from monitor.cli.catalog import CATALOG, GROUPS, PROGRAM, Entry
from monitor.cli.shell import Shell, shell_of
from monitor.cli.streams import (
    NOT_WRITTEN,
    READER_GONE,
    OutputFailed,
    give_up,
    secure_descriptors,
    standard_error,
    standard_output,
)
from monitor.cli.terminal import Terminal
from monitor.config import without_key_log
from monitor.daemon.signals import let_through
from monitor.errors import MonitorError, out_of_resources

USAGE = 2
INTERRUPTED = 130
BUG = 70
"""EX_SOFTWARE of sysexits.h."""

_MAY_BE_EMPTY = {"note", "by", "url"}
"""Options that mean the same when left out, and that of `healthcheck`, which only knows unhealthy."""

_CONTEXT = {"help_option_names": ["-h", "--help"]}


def main() -> None:
    """Run the command that the arguments name, and leave with its exit code."""
    without_key_log()
    secure_descriptors()
    # In place of Python's own, so that whatever a library prints is treated alike.
    sys.stdout, sys.stderr = standard_output(sys.stdout), standard_error(sys.stderr)
    code = run(sys.argv[1:], sys.stdout, sys.stderr)
    # What an interrupted command left must not wait at exit for a reader.
    give_up(sys.stdout)
    sys.exit(code)


class LazyCommand(TyperCommand):
    """A command whose module is imported when it is run; its line in the list of commands costs nothing."""

    def __init__(self, entry: Entry, config_option: Any) -> None:
        super().__init__(entry.name.split()[-1], help=entry.summary)
        self._entry = entry
        self._config_option = config_option

    def load(self) -> TyperCommand:
        """Return the command itself."""
        module, _, name = self._entry.target.partition(":")
        function: Callable[..., Any] = getattr(importlib.import_module(f"monitor.cli.{module}"), name)
        about, title, after = inspect.cleandoc(function.__doc__ or "").partition("Exit codes:")
        # \b keeps the lines of a paragraph as they are.
        epilog = "\n\n".join(f"\b\n{paragraph}" for paragraph in (title + after).split("\n\n"))
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(self.name, help=about, epilog=epilog)(function)
        command = typer.main.get_command(single)
        if not isinstance(command, TyperCommand):
            raise TypeError(f"{self._entry.target} is not a command")
        command.context_settings = dict(_CONTEXT)
        if all(param.name != self._config_option.name for param in command.params):
            command.params.append(self._config_option)
        return command

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parse the arguments as the command itself does."""
        if self._entry.name != "run":  # which takes them itself
            let_through()
        context = self.load().make_context(info_name, args, parent, **extra)
        for param in context.command.params:
            if not isinstance(param, TyperOption | TyperArgument):
                continue
            given = context.params.get(param.name)
            is_empty = "" in (given if isinstance(given, list | tuple) else [given])
            if is_empty and param.envvar is None and param.name not in _MAY_BE_EMPTY:
                raise typer.BadParameter("must not be empty: is a variable unset?", ctx=context, param=param)
        return context


def build_group() -> TyperGroup:
    """Return the whole command line."""
    app = typer.Typer(
        name=PROGRAM,
        rich_markup_mode=None,
        context_settings=dict(_CONTEXT),
        epilog="Each command has its own --help, with exit codes and examples.",
    )
    app.callback(
        help="Watches the phone numbers behind VoiceLink connections, and alerts on-call when one goes bad."
    )(_globals)
    group = typer.main.get_command(app)
    if not isinstance(group, TyperGroup):
        raise TypeError("the command line has several commands")
    # The same option once more for those who write it after the command.
    config_option = next(option for option in group.params if option.name == "config")
    groups = {
        name: TyperGroup(name=name, help=about, context_settings=dict(_CONTEXT), rich_markup_mode=None)
        for name, about in GROUPS.items()
    }
    for entry in CATALOG:
        first, _, second = entry.name.partition(" ")
        if second:
            groups[first].add_command(LazyCommand(entry, config_option), second)
            group.add_command(groups[first])
        else:
            group.add_command(LazyCommand(entry, config_option), first)
    return group


def _take_config(ctx: typer.Context, value: Path | None) -> None:
    if value is not None:
        shell_of(ctx).config_file = value


def _show_version(on: bool) -> None:
    if on:
        typer.echo(__version__)
        raise typer.Exit


def _globals(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            metavar="FILE",
            callback=_take_config,
            expose_value=False,
            help="Config file; default: $VOICELINK_MONITOR_CONFIG, ./config.toml, "
            "/etc/voicelink-monitor/config.toml, or only the environment.",
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of internal errors.")] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version.")
    ] = False,
) -> None:
    del config, version
    shell_of(ctx).debug = debug


def run(
    arguments: Sequence[str], out: TextIO, err: TextIO, build: Callable[[], TyperGroup] = build_group
) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: Without the program's name.
        out: Gets the data.
        err: Gets everything else.
        build: Makes the command line.
    """
    shell = Shell(terminal=Terminal(out, err))
    try:
        code = _invoke(build(), arguments, shell)
        out.flush()
    except OutputFailed as exc:
        if exc.reader_gone:
            return READER_GONE
        shell.terminal.error(f"standard output could not be written: {exc}")
        return NOT_WRITTEN
    except MonitorError as exc:
        shell.terminal.error(str(exc))
        return USAGE
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as exc:  # noqa: BLE001 - the root of everything: a bug must be told, without its data
        lack = out_of_resources(exc)
        if lack is None and shell.debug:
            shell.terminal.debug()
        hint = "" if shell.debug else f"; `{PROGRAM} --debug …` shows where"
        bug = f"this is a bug in {PROGRAM}, please report it ({type(exc).__name__}{hint})"
        shell.terminal.error(str(lack or bug))
        return BUG
    return code


def _is_text(argument: str) -> bool:
    """Return whether an argument can be stored, looked for and shown."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def _invoke(group: TyperGroup, arguments: Sequence[str], shell: Shell) -> int:
    if not arguments:
        _invoke(group, ["--help"], shell)
        return USAGE
    try:
        if not all(_is_text(argument) for argument in arguments):
            raise typer.BadParameter("arguments are text in UTF-8")
        code = group.main(list(arguments), prog_name=PROGRAM, standalone_mode=False, obj=shell)
    except TyperException as exc:
        context = getattr(exc, "ctx", None)
        shell.terminal.error(exc.format_message().replace(" Value error,", ""))
        shell.terminal.note(f"try: {context.command_path if context else PROGRAM} --help")
        return exc.exit_code
    return code if isinstance(code, int) else 0
