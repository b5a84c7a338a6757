"""The migrations: Alembic's scripts in `versions`, their order, and how a database is brought up to date."""

from pathlib import Path

from sqlalchemy import Connection

REVISIONS = ("0001",)
"""Every revision of the schema, oldest first; known here so that a start need not ask Alembic."""


def upgrade(connection: Connection) -> None:
    """Run what is missing, in the connection's transaction."""
    # Alembic takes longer to import than all the rest of a start, and is needed once a version.
    from alembic import command  # noqa: PLC0415 - as said above
    from alembic.config import Config  # noqa: PLC0415 - as said above

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
