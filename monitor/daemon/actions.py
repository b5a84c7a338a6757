"""What users can ask of the running daemon: reload, sync now, accept, send again.

The commands ask the same of the store, in the same words of `monitor.store.requests`.
"""

import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection
from structlog.typing import FilteringBoundLogger

from monitor.clock import Clock
from monitor.drift.silences import NewSilence
from monitor.errors import MonitorError, Refused, StoreUnavailable, UnknownName
from monitor.store.actions import (
    CONFIG,
    SIGNAL,
    Action,
    ActionRecord,
    Actor,
    accepted,
    add_action,
    take_unlogged,
)
from monitor.store.codec import Codec
from monitor.store.connections import ConnectionName
from monitor.store.database import Database
from monitor.store.requests import (
    Dismissed,
    Retried,
    accept,
    acceptable,
    chosen,
    dismiss,
    owner_named,
    retry,
)
from monitor.store.rows import SilenceRow
from monitor.store.silences import set_silence, stop_silence


class Syncs(Protocol):
    """Who syncs."""

    async def sync_now(self, identity: str) -> bool:
        """Sync a connection whether or not it is due; return False if it is being synced already."""
        ...

    def look_now(self) -> None:
        """Do at once what is due."""
        ...


@dataclass(kw_only=True, eq=False)
class DaemonLifecycle:
    """Does what people ask of the daemon, and records it.

    Args:
        reload_config: Reads the config again and activates it. `MonitorError`: the old one stays active.
        started: Set once the daemon has started.
        syncs: The schedule.
        is_watched: Whether this process watches a connection, by identity.
        wake_drain: Makes the drain look for deliveries.
        database: Where requests are left, and what was done is recorded.
        codec: For what is there.
        store_failed: Told of a record that the store did not take, and what it was for.
        clock: The time.
        log: Gets `action.performed`.
    """

    reload_config: Callable[[], Coroutine[Any, Any, None]]
    started: asyncio.Event
    syncs: Syncs
    is_watched: Callable[[str], bool]
    wake_drain: Callable[[], None]
    database: Database
    codec: Codec
    store_failed: Callable[[StoreUnavailable, str], None]
    clock: Clock
    log: FilteringBoundLogger

    async def reload(self, by: Actor) -> None:
        """Read the config again and activate it.

        Raises:
            MonitorError: It cannot be used; the old one stays active.
        """
        await self.reload_config()
        await self._record(by.did(Action.RELOAD, CONFIG))

    async def reload_when_started(self) -> None:
        """Reload once the daemon has started, as a signal asks for at any time."""
        await self.started.wait()
        with contextlib.suppress(MonitorError):  # logged already, where it was handled
            await self.reload(Actor(user=None, address=SIGNAL))

    async def sync_now(self, name: str, by: Actor) -> bool:
        """Sync a connection, due or not; return False if it is being synced already.

        Raises:
            UnknownName: There is no such connection.
            StoreUnavailable: The store is unavailable.
        """
        owner = await self._owner(name)
        begun = await self.syncs.sync_now(owner.identity)
        if begun:
            await self._record(by.did(Action.SYNC, name))
        return begun

    async def accept(self, name: str, numbers: Sequence[str] | None, by: Actor) -> int:
        """Accept removed and reconfigured numbers of a connection as they are; return how many.

        Raises:
            UnknownName: There is no such connection, or one of the numbers was neither removed nor
                reconfigured.
            StoreUnavailable: The store is unavailable.
        """
        owner = await self._owner(name)
        async with self.database.read() as tx:
            found = await acceptable(tx, owner.identity, self.codec)
        taken = chosen(found, numbers)
        if taken:
            named = None if numbers is None else [row.phone_number for row in taken]
            did = by.did(Action.ACCEPT, accepted(name, named))
            keys = None if numbers is None else {row.key for row in taken}
            await self._perform(did, lambda tx: accept(tx, owner.identity, keys, self.clock.now()))
            self.syncs.look_now()
        return len(taken)

    async def retry(self, delivery_id: str, by: Actor) -> None:
        """Send a dead delivery again.

        Raises:
            Refused: There is no such delivery, it is not dead, has been overtaken, or its alert has ended.
            StoreUnavailable: The store is unavailable.
        """

        async def send_again(tx: AsyncConnection) -> None:
            _must_be_done(delivery_id, await retry(tx, delivery_id, self.clock.now()))

        await self._perform(by.did(Action.RETRY, delivery_id), send_again)
        self.wake_drain()

    async def dismiss(self, delivery_id: str, by: Actor) -> None:
        """Close a dead delivery.

        Raises:
            Refused: There is no such delivery, or it is not dead.
            StoreUnavailable: The store is unavailable.
        """

        async def close(tx: AsyncConnection) -> None:
            _must_be_done(delivery_id, await dismiss(tx, delivery_id, self.clock.now()))

        await self._perform(by.did(Action.DISMISS, delivery_id), close)

    async def add_silence(self, asked: NewSilence, by: Actor) -> SilenceRow:
        """Keep numbers quiet for a while; return the silence.

        Raises:
            Invalid: It cannot be set like this.
            UnknownName: There is no such alert.
            StoreUnavailable: The store is unavailable.
        """
        asked = msgspec.structs.replace(asked, by=by.user or asked.by)
        made = await set_silence(self.database, self.codec, asked, by, self.clock.now(), logged=True)
        self._log_action(made.did)
        self.syncs.look_now()
        return made.silence

    async def end_silence(self, silence_id: str, by: Actor) -> SilenceRow:
        """End a silence; return it.

        Raises:
            UnknownName: There is no such silence.
            Refused: It has ended already.
            StoreUnavailable: The store is unavailable.
        """
        ended = await stop_silence(self.database, silence_id, by, self.clock.now(), logged=True)
        self._log_action(ended.did)
        self.syncs.look_now()
        return ended.silence

    async def log_commands(self) -> None:
        """Log what commands have done since the last time: each action once, by one of the replicas.

        Raises:
            StoreUnavailable: The store is unavailable.
        """
        for did in await self.database.transact(take_unlogged):
            self._log_action(did)

    async def _perform(self, did: ActionRecord, work: Callable[[AsyncConnection], Awaitable[None]]) -> None:
        """Do something in the store and record it, in one transaction; what raises leaves neither."""

        async def write(tx: AsyncConnection) -> None:
            await work(tx)
            await add_action(tx, did, self.clock.now(), logged=True)

        await self.database.transact(write)
        self._log_action(did)

    async def _record(self, did: ActionRecord) -> None:
        """Record what was done outside the store, which must not fail for the lack of its record."""
        self._log_action(did)
        try:
            await self.database.transact(lambda tx: add_action(tx, did, self.clock.now(), logged=True))
        except StoreUnavailable as exc:
            self.store_failed(exc, "recording an action")

    def _log_action(self, did: ActionRecord) -> None:
        self.log.info("action.performed", **dataclasses.asdict(did))

    async def _owner(self, name: str) -> ConnectionName:
        async with self.database.read() as tx:
            owner = await owner_named(tx, name)
        if owner is None or not self.is_watched(owner.identity):
            raise UnknownName("no connection has this name")
        return owner


def _must_be_done(delivery_id: str, done: Retried | Dismissed) -> None:
    if done.refused:
        raise Refused(f"{delivery_id}: {done.refused[delivery_id]}")
