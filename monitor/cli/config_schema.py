"""`config-schema`: the JSON Schema of the config."""

from typing import Annotated, Literal

import typer

from monitor.cli.shell import shell_of
from monitor.config import config_schema as schema


def config_schema(
    ctx: typer.Context,
    format: Annotated[Literal["json"], typer.Option("--format", help="There is but one.")] = "json",  # noqa: A002 - the name of the option
) -> None:
    """Print the JSON Schema (2020-12) of the config, for editors and checks. It needs no config."""
    del format
    shell_of(ctx).terminal.json(schema())
