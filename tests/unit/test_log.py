"""What the log writes, line by line."""

import contextlib
import io
import json
import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.typing import FilteringBoundLogger

from monitor.errors import Outcome, StoreUnavailable, SyncError
from monitor.lines import LineWriter
from monitor.log import build_logger, route_standard_library, set_level
from monitor.secret import Secret
from tests.fakes.clock import FakeClock


class Colour(StrEnum):
    """An enum of a caller."""

    RED = "red"


class Point(msgspec.Struct):
    """A struct of a caller."""

    x: int


class Silent:
    """An object that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


class Log:
    """A logger and what it wrote."""

    def __init__(self, level: str = "info", **options: Any) -> None:
        self.stream = io.StringIO()
        self.logger = build_logger("json", level, self.stream, clock=FakeClock(), **options)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """All lines so far, read back."""
        return [json.loads(line) for line in self.stream.getvalue().split("\n")[:-1]]


@contextlib.contextmanager
def routed() -> Iterator[Log]:
    """Give a log that the standard library's records go to."""
    log = Log()
    undo = route_standard_library(log.logger)
    try:
        yield log
    finally:
        undo()


def test_line_is_an_object_with_its_head_first() -> None:
    """`timestamp`, `level` and `event` come first, then the bound fields, then the call's."""
    log = Log()
    log.logger.bind(connection="acme").info("sync.completed", numbers=7)
    assert log.stream.getvalue() == (
        '{"timestamp":"2026-03-01T12:00:00.000Z","level":"info","event":"sync.completed",'
        '"connection":"acme","numbers":7}\n'
    )


@pytest.mark.parametrize(
    ("value", "written"),
    [
        pytest.param(datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z", id="instant"),
        pytest.param(
            datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=5, minutes=30))),
            "2026-01-02T00:00:00+05:30",
            id="instant-elsewhere",
        ),
        pytest.param(Colour.RED, "red", id="enum"),
        pytest.param(Point(1), {"x": 1}, id="struct"),
        pytest.param((1, 2), [1, 2], id="tuple"),
        pytest.param(Path("/etc/x"), "/etc/x", id="path"),
        pytest.param(ValueError("bad"), "ValueError: bad", id="exception"),
        pytest.param(Secret("hunter2"), "Secret(**********)", id="secret"),
        pytest.param(float("nan"), None, id="not-a-number"),
        pytest.param(2**80, 2**80, id="big"),
        pytest.param("a\nb", "a\nb", id="line-feed"),
        pytest.param("\ud800", "'\\ud800'", id="lone-surrogate"),
        pytest.param(Silent(), "<Silent without a text>", id="unshowable"),
    ],
)
def test_field_is_written_as_json(value: object, written: object) -> None:
    """Types of the domain are JSON, anything else its repr, and no secret is shown."""
    log = Log()
    log.logger.info("x", value=value)
    assert [line["value"] for line in log.lines] == [written]


def test_field_that_json_cannot_say_costs_only_itself() -> None:
    """One unsayable field leaves the others as they are."""
    log = Log()
    endless: list[object] = []
    endless.append(endless)
    log.logger.info("x", endless=endless, at=datetime(2026, 1, 2, tzinfo=UTC))
    (line,) = log.lines
    assert (line["endless"], line["at"]) == ("[[...]]", "2026-01-02T00:00:00Z")


@settings(deadline=None)
@given(st.text(), st.dictionaries(st.text(), st.text() | st.floats() | st.none()))
def test_line_is_one_line_whatever_is_in_it(event: str, field: dict[str, Any]) -> None:
    """No event and no field can break out of its line."""
    log = Log()
    log.logger.info(event, field=field)
    assert log.stream.getvalue().count("\n") == 1
    assert len(log.lines) == 1


def test_head_cannot_be_overwritten_by_a_field() -> None:
    """A field named like the head does not replace it."""
    log = Log()
    log.logger.info("x", level="fake", timestamp="never")
    assert log.lines == [{"timestamp": "2026-03-01T12:00:00.000Z", "level": "info", "event": "x"}]


def test_level_changes_for_loggers_already_bound() -> None:
    """A reload's level holds for every component, and for no other logger."""
    log, other = Log(), Log()
    bound = log.logger.bind(part="drain")
    bound.debug("one")
    set_level(log.logger, "debug")
    bound.debug("two")
    other.logger.debug("three")
    set_level(log.logger, "error")
    bound.warning("four")
    bound.log(logging.ERROR, "five")
    assert [line["event"] for line in log.lines] == ["two", "five"]
    assert other.lines == []


def _raise(exc: Exception) -> None:
    raise exc


def _log_exception(logger: FilteringBoundLogger, exc: Exception) -> None:
    try:
        _raise(exc)
    except type(exc):
        logger.exception("store.failed")


@pytest.mark.parametrize(
    ("level", "exc", "traced"),
    [
        pytest.param("info", StoreUnavailable("database is locked"), False, id="expected"),
        pytest.param("debug", StoreUnavailable("database is locked"), True, id="expected-at-debug"),
        pytest.param("info", KeyError("x"), True, id="internal"),
    ],
)
def test_exception_tells_its_origin_only_where_it_helps(level: str, exc: Exception, traced: bool) -> None:
    """An expected error is its type and message; an internal one, or debug, has the traceback too."""
    log = Log(level)
    _log_exception(log.logger, exc)
    (line,) = log.lines
    assert (line["level"], line["error"]) == ("error", f"{type(exc).__name__}: {exc}")
    assert ("traceback" in line) is traced
    assert "exc_info" not in line


def test_exception_can_be_given_as_a_value() -> None:
    """`exc_info` takes the error itself; None means there is none."""
    log = Log()
    log.logger.warning("sync.failed", exc_info=SyncError(Outcome.TIMEOUT, "no answer in 30 s"))
    log.logger.warning("sync.failed", exc_info=None)
    assert [line.get("error") for line in log.lines] == ["SyncError: no answer in 30 s", None]


def test_console_line_is_for_people() -> None:
    """The console format shows event and fields, without colours unless asked."""
    stream = io.StringIO()
    build_logger("console", "info", stream, clock=FakeClock()).warning("drift.appeared", connection="acme")
    line = stream.getvalue()
    assert "drift.appeared" in line
    assert "connection=acme" in line
    assert "\x1b" not in line


@pytest.mark.parametrize(
    ("level", "written"),
    [
        pytest.param(logging.INFO, None, id="info"),
        pytest.param(logging.WARNING, "warning", id="warning"),
        pytest.param(35, "warning", id="between"),
        pytest.param(logging.CRITICAL, "critical", id="critical"),
        pytest.param(99, "critical", id="above"),
    ],
)
def test_standard_library_records_join_the_log(level: int, written: str | None) -> None:
    """Records of libraries from WARNING up are events of the same shape; those below are not written."""
    with routed() as log:
        logging.getLogger("uvicorn.error").log(level, "port %d", 80)
    expected = [] if written is None else [(written, "port 80", "uvicorn.error")]
    assert [(line["level"], line["event"], line["logger"]) for line in log.lines] == expected


def test_standard_library_exception_is_described() -> None:
    """A library's logged exception has `error` and its traceback."""
    with routed() as log:
        try:
            _raise(ZeroDivisionError("by zero"))
        except ZeroDivisionError:
            logging.getLogger("apscheduler").exception("job failed")
    (line,) = log.lines
    assert line["error"] == "ZeroDivisionError: by zero"
    assert "Traceback" in line["traceback"]


def test_standard_library_message_that_does_not_format_is_kept() -> None:
    """A library's faulty log call costs its arguments, not the line."""
    with routed() as log:
        logging.getLogger("x").warning("%d numbers", "many")
    assert [line["event"] for line in log.lines] == ["%d numbers"]


def test_route_standard_library_can_be_undone() -> None:
    """The root logger is given back as it was."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    route_standard_library(Log().logger)()
    assert (root.handlers, root.level) == before


async def test_log_tells_what_it_dropped_as_an_event() -> None:
    """Once lines can be written again, one of them says how many could not, and since when, at any level."""
    reader, writer = os.pipe()
    nowhere = os.open(os.devnull, os.O_RDONLY)
    out = LineWriter(nowhere, FakeClock())
    logger = build_logger("json", "error", out, clock=FakeClock())
    await logger.error("lost").failure()
    os.dup2(writer, nowhere)
    await logger.error("found").failure()
    out.close(10)
    for descriptor in (writer, nowhere):
        os.close(descriptor)
    with os.fdopen(reader) as stream:
        found, told = [json.loads(line) for line in stream]
    assert found["event"] == "found"
    head = {"timestamp": "2026-03-01T12:00:00.000Z", "level": "warning", "event": "log.dropped"}
    assert told == head | {"lines": 1, "since": "2026-03-01T12:00:00.000Z"}


def test_closed_stream_drops_lines() -> None:
    """A stream that was closed under the logger is no error."""
    log = Log()
    log.logger.info("written")
    written = log.lines
    log.stream.close()
    log.logger.info("dropped")
    assert [line["event"] for line in written] == ["written"]
