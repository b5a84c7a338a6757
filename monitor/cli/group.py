"""The command line, put together from the catalog; a command's module is imported when the command runs."""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from monitor import __version__
from monitor.cli.catalog import CATALOG, PROGRAM, Entry
from monitor.cli.shell import shell_of

_CONTEXT = {"help_option_names": ["-h", "--help"]}
_ABOUT = "Watches the phone numbers behind VoiceLink connections, and tells on-call when one goes bad."
_CONFIG_HELP = "Else ./config.toml, /etc/voicelink-monitor/config.toml, or the environment alone."


class LazyCommand(TyperCommand):
    """A command that is imported when it is called; its help in the list costs nothing."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry.name, help=entry.summary)
        self.entry = entry

    def load(self) -> TyperCommand:
        """Return the command itself."""
        module, _, name = self.entry.target.partition(":")
        function: Callable[..., Any] = getattr(importlib.import_module(f"monitor.cli.{module}"), name)
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(self.entry.name, help=_help(function), epilog=_epilog(self.entry))(function)
        command = typer.main.get_command(single)
        if not isinstance(command, TyperCommand):
            raise TypeError(f"{self.entry.target} is no command")
        command.context_settings = dict(_CONTEXT)
        command.params.append(_config_option())
        return command

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parse the arguments as the command itself does."""
        return self.load().make_context(info_name, args, parent, **extra)


def build_group() -> TyperGroup:
    """Return the whole command line."""
    app = typer.Typer(
        name=PROGRAM,
        rich_markup_mode=None,
        context_settings=dict(_CONTEXT),
        epilog="Every command has its own --help, with exit codes and examples.",
    )
    app.callback(help=_ABOUT)(_globals)
    group = typer.main.get_command(app)
    if not isinstance(group, TyperGroup):
        raise TypeError("the command line has several commands")
    for entry in CATALOG:
        group.add_command(LazyCommand(entry), entry.name)
    return group


def _show_version(on: bool) -> None:
    if on:
        typer.echo(__version__)
        raise typer.Exit


def _globals(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", envvar="VOICELINK_MONITOR_CONFIG", help=_CONFIG_HELP),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of internal errors.")] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version.")
    ] = False,
) -> None:
    del version
    shell = shell_of(ctx)
    shell.config_file, shell.debug = config, debug


def _config_option() -> Any:
    """Return `--config` once more, for those who write it after the command."""

    def take(ctx: typer.Context, value: Path | None) -> None:
        if value is not None:
            shell_of(ctx).config_file = value

    def holder(
        config: Annotated[
            Path | None,
            typer.Option("--config", "-c", metavar="FILE", help="The config file.", callback=take),
        ] = None,
    ) -> None:
        """Hold the option."""

    single = typer.Typer(add_completion=False)
    single.command()(holder)
    option = typer.main.get_command(single).params[0]
    option.expose_value = False
    return option


def _help(function: Callable[..., Any]) -> str:
    return function.__doc__ or ""


def _epilog(entry: Entry) -> str:
    # \b keeps the lines of a paragraph as they are.
    exits = [f"  {code}  {meaning}" for code, meaning in sorted(entry.exits.items())]
    examples = [f"  {PROGRAM} {example}" for example in entry.examples]
    return "\n\n".join((_kept("Exit codes:", exits), _kept("Examples:", examples)))


def _kept(title: str, lines: Sequence[str]) -> str:
    return "\n".join(("\b", title, *lines))
