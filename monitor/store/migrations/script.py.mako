"""${message}"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Apply it."""
    # The oldest revision whose running program may go on with what this leaves; NULL: none.
    op.execute("UPDATE fleet SET oldest = NULL")
    ${upgrades if upgrades else ""}
