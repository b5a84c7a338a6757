"""What users can ask of the running daemon: reload, sync now, accept, acknowledge, send again, test.

The commands ask the same of the store, in the same words of `monitor.store.requests`.
"""

import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection
from structlog.typing import FilteringBoundLogger

from monitor.clock import Clock, rfc3339
from monitor.drift.silences import NewSilence
from monitor.errors import MonitorError, Refused, StoreUnavailable, UnknownName
from monitor.notify.test_alert import ReceiverTest
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
    Acknowledged,
    Dismissed,
    Retried,
    RetriedNow,
    accept,
    acceptable,
    acknowledge,
    chosen,
    dismiss,
    owner_named,
    retry,
    retry_now,
)
from monitor.store.rows import SilenceRow
from monitor.store.silences import take_begun_and_ended
from monitor.store.silencing import set_silence, stop_silence

T = TypeVar("T")


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
        wake_receivers: Makes the drain look for deliveries, and posters for changes.
        test_receiver: Sends a test alert to the receiver of this name.
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
    wake_receivers: Callable[[], None]
    test_receiver: Callable[[str], Awaitable[ReceiverTest]]
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

    async def acknowledge(self, alert: str, note: str | None, by: Actor) -> Acknowledged:
        """Take on a firing alert: it reminds no one any more, and receivers are told once.

        Raises:
            UnknownName: No alert is called so, or several are.
            Refused: It has ended.
            StoreUnavailable: The store is unavailable.
        """

        async def take_on(tx: AsyncConnection) -> Acknowledged:
            now = self.clock.now()
            done = await acknowledge(tx, alert, by=by.user, note=note, now=now)
            if not done.already:
                did = by.did(Action.ACKNOWLEDGE, done.alert_id)
                await add_action(tx, did, now, logged=True)
            return done

        done = await self.database.transact(take_on)
        if not done.already:
            self._log_action(by.did(Action.ACKNOWLEDGE, done.alert_id))
            self.wake_receivers()
        return done

    async def retry(self, delivery_id: str, by: Actor) -> None:
        """Send a dead delivery again.

        Raises:
            Refused: There is no such delivery, it is not dead, has been overtaken, or its alert has ended.
            StoreUnavailable: The store is unavailable.
        """

        async def send_again(tx: AsyncConnection) -> None:
            _must_be_done(delivery_id, await retry(tx, delivery_id, self.clock.now()))

        await self._perform(by.did(Action.RETRY, delivery_id), send_again)
        self.wake_receivers()

    async def retry_now(self, receiver: str, by: Actor) -> RetriedNow:
        """Try a receiver at once with whatever waits for it or is dead.

        Raises:
            UnknownName: There is no such receiver.
            StoreUnavailable: The store is unavailable.
        """

        async def try_now(tx: AsyncConnection) -> RetriedNow:
            return await retry_now(tx, receiver, self.clock.now())

        done = await self._perform(by.did(Action.RETRY_NOW, receiver), try_now)
        self.wake_receivers()
        return done

    async def test_alert(self, receiver: str, by: Actor) -> ReceiverTest:
        """Send a test alert to a receiver, whatever its filters; return how it took it.

        Raises:
            UnknownName: There is no such receiver.
        """
        done = await self.test_receiver(receiver)
        await self._record(by.did(Action.TEST, receiver))
        return done

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
        """Log what commands have done since the last time, and see to it; and silences that began or ended.

        Each once, by one of the replicas; a silence whose time is up, or that waits no more, ends here.

        Raises:
            StoreUnavailable: The store is unavailable.
        """
        found = await self.database.transact(take_unlogged)
        for did in found:
            self._log_action(did)
        if found:
            self.wake_receivers()
        begun, ended = await self.database.transact(partial(take_begun_and_ended, now=self.clock.now()))
        for silence in begun:
            self.log.info("silence.started", **_fields(silence))
        for silence in ended:
            self.log.info("silence.ended", **_fields(silence), ended_by=silence.ended_by)

    async def _perform(self, did: ActionRecord, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Do something in the store and record it, in one transaction; what raises leaves neither."""

        async def write(tx: AsyncConnection) -> T:
            done = await work(tx)
            await add_action(tx, did, self.clock.now(), logged=True)
            return done

        done = await self.database.transact(write)
        self._log_action(did)
        return done

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


def _fields(silence: SilenceRow) -> dict[str, object]:
    """Return what the log says of a silence."""
    names = ("connection", "number", "state", "issue", "alert", "until_ready", "reason", "by")
    until = rfc3339(silence.until) if silence.until is not None else None
    return {"silence_id": silence.id, "until": until} | {name: getattr(silence, name) for name in names}


def _must_be_done(delivery_id: str, done: Retried | Dismissed) -> None:
    if done.refused:
        raise Refused(f"{delivery_id}: {done.refused[delivery_id]}")
