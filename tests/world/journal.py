"""The journal of a world, run again."""

import asyncio
from datetime import UTC, datetime

from monitor.replay.report import Replayed
from monitor.replay.run import replay
from monitor.store.codec import Codec
from monitor.store.database import Database


def replayed(url: str) -> Replayed:
    """Run the journal of a store again, all of it, by the rules of then."""

    async def run() -> Replayed:
        async with Database(url) as database:
            return await replay(database, Codec(), since=datetime.min.replace(tzinfo=UTC))

    return asyncio.run(run())
