"""Globs of names as conditions of the database, which mean what they mean everywhere else."""

import fnmatch
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.store.inventory import like


async def named(tx: AsyncConnection, name: ColumnElement[Any], glob: str) -> ColumnElement[bool]:
    """Return the condition that a name matches a glob.

    Args:
        tx: A reading transaction.
        name: The column of the name.
        glob: With [sets], which no database knows as we do, all names are read.
    """
    if "[" in glob:
        names = (await tx.scalars(select(name).distinct())).all()
        return name.in_(fnmatch.filter([each for each in names if each is not None], glob))
    if not {"*", "?"} & set(glob):
        return name == glob
    if tx.dialect.name == "sqlite":
        return name.op("GLOB")(glob)  # its LIKE takes no notice of case
    return name.like(like(glob), escape="\\")
