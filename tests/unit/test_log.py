"""What the log writes, line by line."""

import contextlib
import io
import json
import logging
import os
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.typing import FilteringBoundLogger

from monitor.errors import Outcome, StoreUnavailable, SyncError
from monitor.http.redactor import Redactor
from monitor.lines import LineWriter
from monitor.log import Repeats, build_logger, route_standard_library, set_level
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
    log = build_logger("console", "info", stream, clock=FakeClock())
    log.warning("drift.appeared", connection="acme", account="a")
    line = stream.getvalue()
    assert "drift.appeared" in line
    assert "connection=acme account=a" in line, "in the order in which the event says them"
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


def _global_state() -> tuple[object, ...]:
    root = logging.getLogger()
    return root.handlers[:], root.level, threading.excepthook, sys.unraisablehook, warnings.showwarning


def test_route_standard_library_can_be_undone() -> None:
    """The root logger and the hooks are given back as they were."""
    before = _global_state()
    undo = route_standard_library(Log().logger)
    assert _global_state() != before
    undo()
    assert _global_state() == before


async def test_lines_of_a_library_that_repeat_are_limited_and_counted() -> None:
    """A few of a kind are written, and one line says how many more there were; other kinds come as always."""
    clock = FakeClock()
    log = Log()
    undo = route_standard_library(log.logger, clock=clock)
    storm, calm = logging.getLogger("asyncio"), logging.getLogger("uvicorn.error")
    for n in range(1000):
        storm.error("socket.accept() out of system resource\nsocket: <socket %d>", n)
        storm.error(f"Task exception was never retrieved\nfuture: <Task at {n:#x}>")
    calm.warning("once")
    await clock.advance(2)
    storm.error("socket.accept() out of system resource\nsocket: <socket %d>", 1000)
    undo()
    events = Counter(line["event"].partition("\n")[0] for line in log.lines)
    assert events == {
        "socket.accept() out of system resource": 6,
        "Task exception was never retrieved": 5,
        "once": 1,
        "log.suppressed": 2,
    }
    assert [
        (line["lines"], line["similar_to"]) for line in log.lines if line["event"] == "log.suppressed"
    ] == [
        (995, "asyncio: socket.accept() out of system resource"),
        (995, "asyncio: Task exception was never retrieved"),
    ]


def test_lines_of_a_library_with_ever_new_words_cannot_fill_the_memory() -> None:
    """Beyond a thousand kinds, all others are limited as one."""
    log = Log()
    repeats = Repeats(log.logger, FakeClock())
    for n in range(1000):
        for _ in range(6):
            repeats.passes(f"kind {n}")
    assert sum(repeats.passes(f"another {n}") for n in range(1000)) == 5
    repeats.tell()
    assert len(log.lines) == 1001


def test_uncaught_exceptions_and_warnings_join_the_log() -> None:
    """What Python would print is an event: an exception of a thread or a finalizer, a warning."""

    class Faulty:
        def __del__(self) -> None:
            raise ZeroDivisionError("in a finalizer")

    def fail() -> None:
        raise ZeroDivisionError("in a thread")

    with routed() as log, warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        thread = threading.Thread(target=fail, name="worker")
        thread.start()
        thread.join()
        Faulty()
    by_logger = {line["logger"]: line for line in log.lines}
    assert set(by_logger) == {"py.warnings", "threading", "python"}
    assert "DeprecationWarning: old" in by_logger["py.warnings"]["event"]
    assert by_logger["threading"]["event"] == "the thread worker ended"
    assert by_logger["threading"]["error"] == "ZeroDivisionError: in a thread"
    assert by_logger["python"]["error"] == "ZeroDivisionError: in a finalizer"


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


@pytest.mark.parametrize("format", ["json", "console"])
def test_secret_in_a_line_is_hidden_wherever_it_stands(format: Any) -> None:  # noqa: A002 - the name of the setting
    """The last wall: event, fields, keys, nested values, exceptions with their tracebacks."""
    stream, secret = io.StringIO(), 'rg_live_s3cr3t"\\/é'
    logger = build_logger(format, "info", stream, clock=FakeClock(), redactor=Redactor([Secret(secret)]))
    undo = route_standard_library(logger, clock=FakeClock())
    exc = RuntimeError(f"GET https://h/?key={secret}")
    exc.__cause__ = ValueError(secret)
    event = f"bad {secret}"
    try:
        logger.warning(event, deep=[{"a": (secret, 7)}], exc_info=exc, **{secret: secret})
        logging.getLogger("urllib3").warning("retrying %s", {"url": secret})
    finally:
        undo()
    logger.info("sync.completed", numbers=7)
    written = stream.getvalue()
    assert "s3cr3t" not in written
    assert written.count("***") >= 8
    if format == "json":
        first, *_, last = (json.loads(line) for line in written.splitlines())
        assert (first["event"], first["deep"]) == ("bad ***", [{"a": ["***", 7]}])
        assert first["error"] == "RuntimeError: GET https://h/?key=***"
        assert last["numbers"] == 7
