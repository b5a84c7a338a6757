"""The index of phone numbers: which connection has a number, however it is written.

A row for each number of each applied snapshot, kept in the transaction that applies it, so that no snapshot
is unpacked to find one. A number that is gone keeps its row as long as its history is kept.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, bindparam, literal, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.rules import is_number
from monitor.drift.snapshot import Number
from monitor.store.tables import from_row, inventory

FEWEST_DIGITS = 4
"""The fewest last digits that a number is found by."""
_MOST_FOUND = 200
_DIALLED = ("", "00", "011")
"""What people dial before a country's code."""
_TRUNK = "(0)"
"""Written where a zero is dialled inside the country only: `+44 (0)20`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a number is, or was until `gone_at`: in the connection with this identity."""

    key: str
    identity: str
    phone_number: str
    gone_at: datetime | None


async def take_stock(
    tx: AsyncConnection, identity: str, came: Sequence[Number], went: Sequence[str], now: datetime
) -> None:
    """Follow a connection's snapshot: numbers that came or are written otherwise now, keys that went."""
    rows = [
        {
            "key": number.key,
            "identity": identity,
            "phone_number": number.phone_number,
            "tail": number.key[::-1],
            "gone_at": None,
        }
        for number in came
    ]
    if rows:
        await tx.execute(_ENTER[tx.dialect.name], rows)
    if went:
        await tx.execute(_LEAVE, [{"which": key, "whose": identity, "at": now} for key in went])


async def all_gone(tx: AsyncConnection, identities: Collection[str], now: datetime) -> None:
    """Note that the numbers of these connections are gone: nobody watches them any more."""
    here = inventory.c.identity.in_(identities), inventory.c.gone_at.is_(None)
    await tx.execute(update(inventory).where(*here).values(gone_at=now))


def digits_of(text: str) -> str:
    """Return the digits of a number, however it is written; none if there are letters in it."""
    written = text.strip().casefold().removeprefix("tel:").replace(_TRUNK, "")
    if any(each.isalpha() for each in written):
        return ""
    return "".join(each for each in written if each in "0123456789")


async def find(tx: AsyncConnection, text: str) -> list[Place]:
    """Return where a number is, by key: a whole number if it is one, else all that end with these digits.

    Args:
        tx: A reading transaction.
        text: `+91…`, `91…`, `0091…`, `0…`, `tel:…` or the last digits, with anything but letters between.
            Fewer than `FEWEST_DIGITS` digits find only a number that is no longer than that.
    """
    digits = digits_of(text)
    national = digits.lstrip("0")
    for whole in dict.fromkeys(digits.removeprefix(each) for each in _DIALLED):
        if found := await _places(tx, inventory.c.key == whole):
            return found
    for last in dict.fromkeys([digits, national]):
        if len(last) >= FEWEST_DIGITS and (found := await _places(tx, _ends_with(last))):
            return found
    return []


async def matching(tx: AsyncConnection, glob: str, *, most: int) -> dict[str, set[str]] | None:
    """Return the keys of the numbers that are there and match a glob, by connection's identity.

    It matches as a rule's or a silence's does. None: there may be more than `most`.
    """
    asked = select(inventory.c.key, inventory.c.identity, inventory.c.phone_number).where(*_like(glob))
    rows = (await tx.execute(asked.limit(most + 1))).all()
    if len(rows) > most:
        return None
    found: dict[str, set[str]] = {}
    for row in rows:
        if is_number(glob, row.phone_number, row.key):
            found.setdefault(row.identity, set()).add(row.key)
    return found


async def connections_with(tx: AsyncConnection, glob: str) -> set[str]:
    """Return the identities of the connections with a number that a glob matches; one with [sets] may not."""
    asked = select(inventory.c.identity).distinct().where(*_like(glob))
    return set((await tx.execute(asked)).scalars())


def like(glob: str) -> str:
    """Return a pattern for LIKE, with a backslash as its escape, that matches what a glob does, maybe more.

    LIKE has no [sets]: from the first one on it lets anything through.
    """
    known, bracket, _ = glob.partition("[")
    return escaped(known).replace("*", "%").replace("?", "_") + ("%" if bracket else "")


def escaped(text: str) -> str:
    """Return a text as LIKE takes it literally, with a backslash as its escape."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _like(glob: str) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions of a number that is there, and that a glob may match."""
    pattern = like(glob)
    forms = inventory.c.key, inventory.c.phone_number, literal("+") + inventory.c.key
    return inventory.c.gone_at.is_(None), or_(*(each.like(pattern, escape="\\") for each in forms))


def _ends_with(last: str) -> ColumnElement[bool]:
    """Return the condition that an index answers: the tail begins with these digits, backwards."""
    first = last[::-1]
    # Behind every digit comes the colon.
    return (inventory.c.tail >= first) & (inventory.c.tail < f"{first}:")


async def _places(tx: AsyncConnection, where: ColumnElement[bool]) -> list[Place]:
    asked: Select[Any] = (
        select(inventory).where(where).order_by(inventory.c.key, inventory.c.identity).limit(_MOST_FOUND)
    )
    return [from_row(Place, row) for row in await tx.execute(asked)]


# Statements of a step are built once: building one takes longer than running it.
def _enter(insert_into: Callable[[Table], Any]) -> Any:
    statement = insert_into(inventory)
    moved = {name: statement.excluded[name] for name in ("phone_number", "gone_at")}
    return statement.on_conflict_do_update(index_elements=[inventory.c.key, inventory.c.identity], set_=moved)


_ENTER = {"sqlite": _enter(sqlite.insert), "postgresql": _enter(postgresql.insert)}
_LEAVE = (
    update(inventory)
    .where(inventory.c.key == bindparam("which"), inventory.c.identity == bindparam("whose"))
    .values(gone_at=bindparam("at"))
)
