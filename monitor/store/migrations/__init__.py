"""Migrations: Alembic's scripts in `versions`, their order, and the upgrade of a database."""

from pathlib import Path

from sqlalchemy import Connection

REVISIONS = ("0001",)
"""Every revision of the schema, oldest first, so that a start need not import Alembic."""

COPYING = "copying"
"""What a store calls its revision while it is being copied from another."""


def upgrade(connection: Connection) -> None:
    """Run the missing migrations, in the connection's transaction."""
    # Alembic takes longer to import than the rest of a start, and is needed once per version.
    from alembic import command  # noqa: PLC0415 - as said above
    from alembic.config import Config  # noqa: PLC0415 - as said above

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
