"""How many bytes a change leaves in the store."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from monitor.notify.delivery import Sent
from monitor.store.outbox import StoredOutbox
from tests.fakes.rig import Rig, rig

AT_ONCE = {
    "drift__confirm_syncs": 1,
    "drift__resolve_syncs": 1,
    "drift__keep_firing_for": "0s",
    "alerts__update_interval": "0s",
    "alerts__widespread_connections": 0,
}
"""Each change opens or ends an alert, of which one receiver is told."""
_TURNS = 10


async def change(made: Rig, many: int, *, turns: int) -> None:
    """Let numbers drift and be ready again in turn, and deliver what there is to tell."""
    outbox = StoredOutbox(made.database, made.clock)
    for turn in range(turns):
        made.simulator.do("restore_routing" if turn % 2 else "remove_routing", numbers=many)
        await made.run(looks=False)
        leased = (await outbox.lease_due("log", limit=10, lease_s=30.0)).deliveries
        assert len(leased) == 1
        await outbox.settle([Sent(delivery=each, at=made.clock.now(), answer="") for each in leased])


def stored_bytes(folder: Path) -> int:
    """Return the bytes of all rows and entries of indexes; pages are not always full."""
    with closing(sqlite3.connect(folder / "store.db")) as store:
        (size_bytes,) = store.execute("SELECT sum(payload) FROM dbstat").fetchone()
    return int(size_bytes)


@pytest.mark.parametrize(("together", "most_bytes"), [(1, 1100), (10, 470)], ids=["alone", "one of ten"])
async def test_change_leaves_few_bytes(tmp_path: Path, together: int, most_bytes: int) -> None:
    """Its row, its part of an alert, of a message and of an entry in the journal, and what finds them."""
    async with rig(tmp_path, numbers=20) as made:
        await made.configure(**AT_ONCE)
        await made.run()
        await change(made, together, turns=2)
        before = stored_bytes(tmp_path)
        await change(made, together, turns=_TURNS)
        assert 0 < (stored_bytes(tmp_path) - before) / (_TURNS * together) < most_bytes
