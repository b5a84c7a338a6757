"""The log as a receiver."""

import json
from dataclasses import replace

import msgspec
import pytest

from monitor.drift.alert import AlertBody, Notice, Severity, encode_body
from monitor.notify.log import LogReceiver
from tests.fakes.alerts import BODY, delivery_of, resolved
from tests.fakes.log import FakeLog


@pytest.mark.parametrize(
    ("body", "event", "level"),
    [
        pytest.param(BODY, "alert.opened", "error", id="critical"),
        pytest.param(
            msgspec.structs.replace(BODY, severity=Severity.WARNING), "alert.opened", "warning", id="warning"
        ),
        pytest.param(
            msgspec.structs.replace(BODY, severity=Severity.INFO), "alert.opened", "info", id="info"
        ),
        pytest.param(
            msgspec.structs.replace(BODY, change=Notice.UPDATED), "alert.updated", "error", id="updated"
        ),
        pytest.param(
            msgspec.structs.replace(BODY, change=Notice.REMINDER), "alert.updated", "error", id="reminder"
        ),
        pytest.param(resolved(), "alert.resolved", "info", id="resolved"),
    ],
)
async def test_log_receiver_writes_the_whole_body(body: AlertBody, event: str, level: str) -> None:
    """A line has the event, a level by severity, and every field of the body as it is on the wire."""
    log = FakeLog()
    answer = await LogReceiver(log.logger).send(delivery_of(body))  # type: ignore[func-returns-value]  # None is the promise
    assert answer is None
    assert log.lines == [{"event": event, "log_level": level, **json.loads(encode_body(body))}]


async def test_log_receiver_writes_fields_it_does_not_know() -> None:
    """A body that a newer program stored is logged whole."""
    log = FakeLog()
    body = json.dumps({**json.loads(encode_body(BODY)), "novel": [1]}).encode()
    await LogReceiver(log.logger).send(replace(delivery_of(), body=body))
    assert log.lines[0]["novel"] == [1]
