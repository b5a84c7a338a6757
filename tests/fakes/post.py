"""A receiver, and what it makes of the messages about the alerts of one connection."""

from collections.abc import Sequence

from sqlalchemy import select

from monitor.drift.alert import Notice, decode_body
from monitor.drift.widespread import Spread
from monitor.notify.delivery import Dead, Delivery, Sent
from monitor.notify.routing import Route
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.store.enrol import enrol
from monitor.store.outbox import StoredOutbox
from monitor.store.tables import deliveries, told
from tests.fakes.clock import FakeClock
from tests.fakes.stored import ME, MINUTE, NOW, Story, number, watch

READY = tuple(number(str(index)) for index in range(10, 20))


class Post:
    """A receiver, `hook`, of the alerts of one connection."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.story = Story(database)
        self.clock = FakeClock(NOW)
        self.outbox = StoredOutbox(database, self.clock)
        self.heard: list[Notice] = []

    async def break_one(self) -> None:
        """Let the connection's one alert open, or have an update ready."""
        broken = sum(1 for track in self.story.records.tracks.values() if track.episode)
        numbers = [number(str(index), "NO_BOT") for index in range(broken + 1)]
        await self.story.sync(*numbers, *READY)
        if broken:
            self.story.at += 5 * MINUTE
            await self.story.sync(*numbers, *READY)

    async def mend_all(self) -> None:
        """Let the alert end."""
        await self.story.sync(*(number(str(index)) for index in range(3)), *READY)

    async def lease(self) -> list[Delivery]:
        """Return what is due by now."""
        await self.clock.advance((self.story.at - self.clock.now()).total_seconds())
        return (await self.outbox.lease_due("hook", limit=10, lease_s=30)).deliveries

    async def take(self) -> list[Notice]:
        """Accept all that is due, and return what it says."""
        said: list[Notice] = []
        while leased := await self.lease():
            for each in leased:
                assert decode_body(each.body).change is each.change
                said.append(each.change)
            await self.accept(leased)
        return said

    async def accept(self, leased: Sequence[Delivery]) -> None:
        """Accept these."""
        await self.outbox.settle([Sent(delivery=each, at=NOW, answer="ok") for each in leased])

    async def refuse(self) -> list[Notice]:
        """Refuse the first that is due for good."""
        leased = await self.lease()
        await self.outbox.settle([Dead(delivery=each, at=NOW, error="400", answered=True) for each in leased])
        return [each.change for each in leased]

    async def statuses(self) -> list[str]:
        """Return the status of every delivery, oldest first."""
        async with self.database.read() as tx:
            return list((await tx.execute(select(deliveries.c.status).order_by(deliveries.c.seq))).scalars())

    async def known(self) -> list[tuple[str, bool]]:
        """Return who accepted a message, and whether they know of the end."""
        async with self.database.read() as tx:
            return [(row.receiver, row.ended_at is not None) for row in await tx.execute(select(told))]

    async def configure(
        self, *routes: Route, identities: Sequence[str] = ("a",), ask_again: bool = False
    ) -> None:
        """Put a config with these receivers and connections in place."""
        self.story.routes = routes
        await enrol(
            self.database,
            Codec(),
            me=ME,
            discovering=(),
            ask_again=ask_again,
            watches=[watch(identity, self.story.at) for identity in identities],
            vanished=(),
            listed=(),
            receivers=[route.receiver for route in routes],
            routes=routes,
            spread=Spread(),
            now=self.story.at,
        )
