"""What people asked the monitor to do: who, from where, what, and on what."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.store.tables import actions, from_row

COMMAND = "command"
"""The address of who used a command on the monitor's machine."""
SIGNAL = "signal"
"""The address of who sent a signal to its process."""

CONFIG = "config"
"""The target of a reload."""

_MOST_NAMED = 10


class Action(StrEnum):
    """What can be asked for."""

    RELOAD = "reload"
    SYNC = "sync"
    ACCEPT = "accept"
    ACKNOWLEDGE = "acknowledge"
    RETRY = "retry"
    RETRY_NOW = "retry_now"
    DISMISS = "dismiss"
    SILENCE = "silence"
    END_SILENCE = "end_silence"
    TEST = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who asks: a user's name, None if no one had to say it; and an address, `COMMAND` or `SIGNAL`."""

    user: str | None
    address: str

    def did(self, action: Action, target: str) -> "ActionRecord":
        """Return the record of an action."""
        return ActionRecord(action=action, user=self.user, address=self.address, target=target)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionRecord:
    """Something that was done because somebody asked; `target` is what it was done to."""

    action: Action
    user: str | None
    address: str
    target: str


def accepted(connection: str, phone_numbers: Sequence[str] | None) -> str:
    """Return the target of an acceptance: the connection, with the numbers unless all were meant (None)."""
    if phone_numbers is None:
        return connection
    named = list(dict.fromkeys(phone_numbers))
    if len(named) > _MOST_NAMED:
        return f"{connection}: {len(named)} numbers"
    return f"{connection}: {', '.join(named)}"


async def add_action(tx: AsyncConnection, did: ActionRecord, now: datetime, *, logged: bool) -> None:
    """Record what was done; `logged`: a daemon's log has it already."""
    await tx.execute(insert(actions).values(at=now, logged=logged, **dataclasses.asdict(did)))


async def any_unlogged(tx: AsyncConnection) -> bool:
    """Return whether there is something that no daemon has logged yet."""
    return await tx.scalar(_UNLOGGED) is not None


# Built once: a daemon looks every second.
_UNLOGGED = select(actions.c.id).where(actions.c.logged.is_(False)).limit(1)


async def take_unlogged(tx: AsyncConnection) -> list[ActionRecord]:
    """Return what no daemon has logged yet, for this one to log."""
    done = await tx.execute(
        update(actions).where(actions.c.logged.is_(False)).values(logged=True).returning(*actions.c)
    )
    return [from_row(ActionRecord, row) for row in sorted(done, key=lambda row: int(row.id))]
