"""What users can ask of the running daemon: reload, sync now, accept, send again.

The commands ask the same of the store, in the same words of `monitor.store.requests`.
"""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from monitor.clock import Clock
from monitor.errors import Refused, UnknownName
from monitor.store.codec import Codec
from monitor.store.connections import ConnectionName
from monitor.store.database import Database
from monitor.store.requests import accept, acceptable, chosen, dismiss, owner_named, retry


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
    """Does what the web side asks for.

    Args:
        reload: Reads the config again and activates it. `MonitorError`: the old one stays active.
        syncs: The schedule.
        is_watched: Whether this process watches a connection, by identity.
        wake_drain: Makes the drain look for deliveries.
        database: Where requests are left.
        codec: For what is there.
        clock: The time.
    """

    reload: Callable[[], Coroutine[Any, Any, None]]
    syncs: Syncs
    is_watched: Callable[[str], bool]
    wake_drain: Callable[[], None]
    database: Database
    codec: Codec
    clock: Clock

    async def sync_now(self, name: str) -> bool:
        """Sync a connection, due or not; return False if it is being synced already.

        Raises:
            UnknownName: There is no such connection.
            StoreUnavailable: The store is unavailable.
        """
        owner = await self._owner(name)
        return await self.syncs.sync_now(owner.identity)

    async def accept(self, name: str, numbers: Sequence[str] | None) -> int:
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
            keys = None if numbers is None else {row.key for row in taken}
            async with self.database.write() as tx:
                await accept(tx, owner.identity, keys, self.clock.now())
            self.syncs.look_now()
        return len(taken)

    async def retry(self, delivery_id: str) -> None:
        """Send a dead delivery again.

        Raises:
            Refused: There is no such delivery, it is not dead, has been overtaken, or its alert has ended.
            StoreUnavailable: The store is unavailable.
        """
        async with self.database.write() as tx:
            done = await retry(tx, delivery_id, self.clock.now())
        if done.refused:
            raise Refused(f"{delivery_id}: {done.refused[delivery_id]}")
        self.wake_drain()

    async def dismiss(self, delivery_id: str) -> None:
        """Close a dead delivery.

        Raises:
            Refused: There is no such delivery, or it is not dead.
            StoreUnavailable: The store is away.
        """
        async with self.database.write() as tx:
            done = await dismiss(tx, delivery_id, self.clock.now())
        if done.refused:
            raise Refused(f"{delivery_id}: {done.refused[delivery_id]}")

    async def _owner(self, name: str) -> ConnectionName:
        async with self.database.read() as tx:
            owner = await owner_named(tx, name)
        if owner is None or not self.is_watched(owner.identity):
            raise UnknownName("no connection has this name")
        return owner
