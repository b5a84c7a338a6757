"""`config-schema`: the JSON Schema of the config."""

import typer

from monitor.cli.shell import shell_of
from monitor.config import config_schema as schema


def config_schema(ctx: typer.Context) -> None:
    """Print the JSON Schema (2020-12) of the config, for editors and checks. It needs no config."""
    shell_of(ctx).terminal.json(schema())
