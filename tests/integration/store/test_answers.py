"""What is stored of a receiver's answer: from the wire through receiver, drain and outbox into the row."""

import asyncio
import random
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import select

from monitor.drift.alert import Notice
from monitor.http.redactor import Redactor
from monitor.notify.drain import Drain
from monitor.notify.webhook import WebhookReceiver
from monitor.secret import Secret
from monitor.store.database import Database
from monitor.store.deliveries import add_deliveries
from monitor.store.outbox import StoredOutbox
from monitor.store.receivers import know_receivers
from monitor.store.tables import deliveries, receivers
from tests.fakes.alerts import BODY
from tests.fakes.clock import START, FakeClock
from tests.fakes.log import FakeLog
from tests.fakes.shortage import no_shortage

URL = "https://hook.test/p4th-t0ken"
QUOTED = "no /p4th-t0ken for Bearer t0k3n and +91 80112 23344"


class Counted:
    """Metrics that say when a try has ended."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    def delivery(self, receiver: str, outcome: str) -> None:
        """Note it."""
        self.ended.set()

    def store_error(self) -> None:
        """Count nothing."""


def answer(status: int, text: str = "", **headers: str) -> httpx.Response:
    """Return an answer of the server."""
    return httpx.Response(status, headers=headers, stream=httpx.ByteStream(text.encode()))


@pytest.mark.parametrize(
    ("told", "status", "stored", "least_wait_s", "error", "refused"),
    [
        pytest.param(answer(200, "ok"), "delivered", "200 OK: ok", None, None, False, id="delivered"),
        pytest.param(answer(204), "delivered", "204 No Content", None, None, False, id="without-a-body"),
        pytest.param(
            answer(200, QUOTED), "delivered", "200 OK: no *** for *** and ***", None, None, False, id="quotes"
        ),
        pytest.param(
            answer(503, "busy", **{"retry-after": "45"}),
            "pending",
            "503 Service Unavailable: busy",
            45,
            "503 Service Unavailable: busy",
            False,
            id="busy",
        ),
        pytest.param(
            answer(404, QUOTED),
            "pending",
            "404 Not Found: no *** for *** and ***",
            300,
            "404 Not Found: no *** for *** and ***",
            True,
            id="gone",
        ),
        pytest.param(
            answer(422, "x" * 10_000),
            "dead",
            "422 Unprocessable Entity: " + "x" * 199 + "…",
            None,
            None,
            False,
            id="never-and-long",
        ),
        pytest.param(
            ConnectionRefusedError(111, "hook.test"),
            "pending",
            "connection refused",
            0,
            "connection refused",
            False,
            id="out-of-reach",
        ),
    ],
)
async def test_answer_is_stored_as_it_may_be_shown(
    database: Database,
    told: httpx.Response | Exception,
    status: str,
    stored: str,
    least_wait_s: float | None,
    error: str | None,
    *,
    refused: bool,
) -> None:
    """The row has status, answer and next try, the receiver its trouble; no secret, no phone number."""

    def respond(_: httpx.Request) -> httpx.Response:
        if isinstance(told, Exception):
            raise told
        return told

    clock, counted = FakeClock(), Counted()
    async with database.write() as tx:
        await know_receivers(tx, ["hook"], START)
        await add_deliveries(tx, BODY, [("hook", Notice.OPENED)], START)
    async with httpx.AsyncClient(transport=httpx.MockTransport(respond)) as http:
        hook = WebhookReceiver(
            "hook",
            Secret(URL),
            secrets=(),
            headers={"authorization": Secret("Bearer t0k3n")},
            http=http,
            redactor=Redactor([Secret(URL), Secret("Bearer t0k3n")]),
            timeout_s=5.0,
            clock=clock,
        )
        drain = Drain(
            outbox=StoredOutbox(database, clock),
            receivers=[hook],
            clock=clock,
            rng=random.Random(0),
            metrics=counted,
            log=FakeLog().logger,
            shortage=no_shortage(),
        )
        running = asyncio.create_task(drain.run())
        await asyncio.wait_for(counted.ended.wait(), 20)
        await drain.close(20)
        await running
    async with database.read() as tx:
        row = (await tx.execute(select(deliveries))).one()
        receiver = (await tx.execute(select(receivers))).one()
    assert (row.status, row.answer, row.attempts, row.lease_until) == (status, stored, 1, None)
    assert (row.finished_at, receiver.delivered_at) == (
        None if status == "pending" else START,
        START if status == "delivered" else None,
    )
    assert (receiver.error, receiver.refused) == (error, refused)
    if least_wait_s is not None:
        assert row.due_at >= START + timedelta(seconds=least_wait_s)
