"""The log as a receiver."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import msgspec
import pytest
from structlog.typing import FilteringBoundLogger

from monitor.drift.alert import AlertBody, Notice, Severity, encode_body
from monitor.errors import DeliveryError, Refusal
from monitor.lines import LineWriter
from monitor.log import build_logger
from monitor.notify.log import LogReceiver
from tests.fakes.alerts import BODY, delivery_of, resolved
from tests.fakes.clock import FakeClock
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
        pytest.param(
            msgspec.structs.replace(BODY, change=Notice.ACKNOWLEDGED),
            "alert.acknowledged",
            "info",
            id="acknowledged",
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


async def test_log_receiver_delivers_what_was_written() -> None:
    """A line that found no space is not delivered; tried again it is, once there is some."""
    reader, writer = os.pipe()
    out = os.open("/dev/full", os.O_WRONLY)
    with _log_to(out) as log:
        receiver = LogReceiver(log)
        with pytest.raises(DeliveryError, match="No space left on device") as refused:
            await receiver.send(delivery_of())
        assert (refused.value.refusal, refused.value.answered) == (Refusal.RETRY, False)
        os.dup2(writer, out)
        await receiver.send(delivery_of())
    for descriptor in (out, writer):
        os.close(descriptor)
    with os.fdopen(reader) as stream:
        assert [json.loads(line)["event"] for line in stream] == ["alert.opened", "log.dropped"]


async def test_log_receiver_writes_a_line_that_waits_for_its_reader_once() -> None:
    """Nobody reads: not delivered. Read before the next try: delivered by the line that was waiting."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    with _log_to(writer) as log:
        log.info("x" * 4096)
        receiver = LogReceiver(log, patience_s=0.01)
        for _ in range(2):
            with pytest.raises(DeliveryError, match="nothing was read"):
                await receiver.send(delivery_of())
        read = os.read(reader, 65536)
        await receiver.send(delivery_of())
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        events = [json.loads(line)["event"] for line in (read + stream.read()).splitlines()]
    assert events == ["x" * 4096, "alert.opened"]


async def test_log_receiver_delivers_what_the_level_hides() -> None:
    """Who asked for errors alone misses nothing that is less."""
    out = os.open("/dev/full", os.O_WRONLY)
    with _log_to(out, level="error") as log:
        await LogReceiver(log).send(delivery_of(resolved()))
    os.close(out)


@contextmanager
def _log_to(descriptor: int, level: str = "info") -> Iterator[FilteringBoundLogger]:
    writer = LineWriter(descriptor, FakeClock())
    yield build_logger("json", level, writer, clock=FakeClock())
    writer.close(10)
