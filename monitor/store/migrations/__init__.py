"""The migrations: Alembic's scripts in `versions`, and their order."""

REVISIONS = ("0001",)
"""Every revision of the schema, oldest first; known here so that a start need not ask Alembic."""
