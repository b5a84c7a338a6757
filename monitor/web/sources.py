"""What the pages and the JSON API read: the store, in turns, and the state of the daemon."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus

from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.exceptions import HTTPException

from monitor.clock import Clock
from monitor.drift.rules import Ignore
from monitor.errors import StoreUnavailable
from monitor.store.availability import Availability, Span, Standing, availability
from monitor.store.codec import Codec
from monitor.store.connections import ConnectionName
from monitor.store.database import Database
from monitor.store.explanations import Grounds
from monitor.store.queries import MaintenanceOf, RulesOf
from monitor.store.quiet import quiet_notices
from monitor.store.rows import ConnectionRow, QuietNotice, SyncStatus
from monitor.web.problems import STORE_AWAY_RETRY_S
from monitor.web.replays import Replays
from monitor.web.status import ReadinessSource, StatusSource

_READERS = 2
"""Requests that read the store at once: the rest of the daemon reads there too, and comes first."""
_WAIT_S = 10.0
_LOOK_EVERY = timedelta(minutes=1)
"""Whether a rule matches nothing may take a look at every number."""

IsOverdue = Callable[[str, datetime], bool]
"""Whether a connection, by its identity, ought to have been seen again since an instant."""

BUSY = "too many requests are reading the store; try again in a moment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Everything that pages and API read from.

    `rules_of`, `maintenance_of` and `is_overdue` answer by a connection's identity, as of now. `ignores` are
    the ignore rules of the config, `grounds` is what the config says that explanations need, `retention` how
    long changes are kept. `replays` run the history again.
    """

    database: Database
    codec: Codec
    status: StatusSource
    readiness: ReadinessSource
    clock: Clock
    rules_of: RulesOf
    maintenance_of: MaintenanceOf
    is_overdue: IsOverdue
    grounds: Callable[[], Grounds]
    ignores: Callable[[], Sequence[Ignore]]
    retention: Callable[[], timedelta]
    replays: Replays
    _noticed: list[tuple[datetime, Sequence[QuietNotice]]] = field(default_factory=list, init=False)
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_READERS), init=False)

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Wait for a turn, and read the store.

        Raises:
            HTTPException: 503; no turn came within ten seconds.
            StoreUnavailable: The store is unavailable.
        """
        try:
            async with asyncio.timeout(_WAIT_S):
                await self._turns.acquire()
        except TimeoutError:
            headers = {"retry-after": str(STORE_AWAY_RETRY_S)}
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, BUSY, headers) from None
        try:
            async with self.database.read() as tx:
                yield tx
        finally:
            self._turns.release()

    async def notices(self) -> Sequence[QuietNotice]:
        """Return what to know about ignore rules and silences, a minute old or so; it waits for no turn."""
        now = self.clock.now()
        is_old = not self._noticed or abs(now - self._noticed[0][0]) >= _LOOK_EVERY
        if is_old and not self._turns.locked():
            with contextlib.suppress(StoreUnavailable, HTTPException):
                async with self.read() as tx:
                    self._noticed[:] = [(now, await quiet_notices(tx, self.codec, self.ignores(), now))]
        return self._noticed[0][1] if self._noticed else ()

    def unknown_since(self, identity: str, row: ConnectionRow) -> datetime | None:
        """Return since when a connection cannot be seen; None if it can."""
        if row.status is SyncStatus.OK and row.last_success is not None:
            return row.last_success if self.is_overdue(identity, row.last_success) else None
        return row.last_success or row.watched_since

    async def availability(
        self, tx: AsyncConnection, owner: ConnectionName, row: ConnectionRow
    ) -> dict[Span, Availability]:
        """Return the availability of a connection whose row was read in the same transaction."""
        standing = Standing(
            identity=owner.identity,
            numbers=row.numbers or 0,
            drifting=row.drifting or 0,
            watched_since=row.watched_since,
            blind_since=self.unknown_since(owner.identity, row),
        )
        return await availability(tx, standing, self.clock.now(), retention=self.retention())
