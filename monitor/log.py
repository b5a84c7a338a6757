"""The structured log, as JSON lines or as text, which includes the standard library's records.

The pieces are values: nothing here touches structlog's global configuration. The one thing that is global by
nature, the root logger of `logging`, is taken over by `route_standard_library`, whose result restores it.
"""

import logging
import sys
import traceback
from collections.abc import Callable
from datetime import datetime
from pathlib import PurePath
from typing import Any, Literal, TextIO, cast

import msgspec
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from monitor.clock import Clock, SystemClock, rfc3339
from monitor.errors import MonitorError
from monitor.lines import Line, LineWriter

LogFormat = Literal["json", "console"]

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}

_MESSAGES_OF_LEVEL = {"warn": "warning", "exception": "error", "fatal": "critical"}


def build_logger(
    format: LogFormat,  # noqa: A002 - the name of the setting
    level: str,
    out: LineWriter | TextIO,
    *,
    clock: Clock | None = None,
) -> FilteringBoundLogger:
    """Return a logger that writes to `out`; `set_level` changes its level later.

    Its calls return the `Line` that they wrote, None below its level.

    Args:
        format: `json`, or `console` for people.
        level: A key of `LEVELS`. Calls below it do nothing, and cost next to nothing.
        out: Gets the lines. A stream gets each at once, and may make the caller wait.
        clock: For the timestamps; the machine's if None.
    """
    # A class of its own for this logger and all that are bound from it: a new level changes its methods, so
    # every component sees it at once, and a call below the level stays an empty function.
    wrapper: Any = type("Logger", (structlog.make_filtering_bound_logger(logging.NOTSET),), {})

    def verbose() -> bool:
        return bool(wrapper.is_enabled_for(None, logging.DEBUG))

    render = _render_json if format == "json" else structlog.dev.ConsoleRenderer(colors=False)
    head = _head(clock or SystemClock())
    processors: list[Processor] = [head, _describe_exception(verbose), cast("Processor", render)]
    write = out.write if isinstance(out, LineWriter) else _write_to(out)
    if isinstance(out, LineWriter):

        def notice(count: int, since: datetime) -> str:
            fields = {"event": "log.dropped", "lines": count, "since": rfc3339(since)}
            return str(render(None, "warning", head(None, "warning", fields)))

        out.notice = notice
    logger = cast("FilteringBoundLogger", wrapper(_Output(write), processors, {}))
    set_level(logger, level)
    return logger


def set_level(logger: FilteringBoundLogger, level: str) -> None:
    """Change the level of a logger from `build_logger`, and of all loggers bound from it."""
    methods = vars(structlog.make_filtering_bound_logger(LEVELS[level]))
    for name, method in methods.items():
        if not name.startswith("__"):
            setattr(type(logger), name, method)


def route_standard_library(logger: FilteringBoundLogger) -> Callable[[], None]:
    """Send the records of `logging` at WARNING and above to `logger`; return what undoes it."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers[:] = [_Bridge(logger)]
    root.setLevel(logging.WARNING)

    def undo() -> None:
        root.handlers[:] = before
        root.setLevel(level)

    return undo


class _Bridge(logging.Handler):
    """Writes standard-library records as events, with the logger's name as a field."""

    def __init__(self, logger: FilteringBoundLogger) -> None:
        super().__init__(logging.WARNING)
        self._log = logger

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # arguments that do not fit the message
            message = str(record.msg)
        self._log.log(_known_level(record.levelno), message, logger=record.name, exc_info=record.exc_info)


def _known_level(level: int) -> int:
    """Return the highest of the five levels that does not exceed `level`, at least WARNING."""
    return max(known for known in LEVELS.values() if known <= max(level, logging.WARNING))


class _Output:
    """What structlog calls, a method for each level."""

    def __init__(self, write: Callable[[str], Line]) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = self.log = write


def _write_to(stream: TextIO) -> Callable[[str], Line]:
    """Return what writes a line to a stream at once."""

    def write(text: str) -> Line:
        line = Line(text)
        try:
            stream.write(text + "\n")
            stream.flush()
        except (OSError, ValueError) as exc:  # a full disk, no reader, a closed stream
            line.end(getattr(exc, "strerror", None) or "the stream is closed")
        else:
            line.end()
        return line

    return write


def _head(clock: Clock) -> Callable[[WrappedLogger, str, EventDict], EventDict]:
    """Return a processor that puts `timestamp`, `level` and `event` first."""

    def head(_: WrappedLogger, method: str, event_dict: EventDict) -> EventDict:
        event = event_dict.pop("event", None)
        first = {
            "timestamp": rfc3339(clock.now()),
            "level": _MESSAGES_OF_LEVEL.get(method, method),
            "event": event,
        }
        return first | {key: value for key, value in event_dict.items() if key not in first}

    return head


def _describe_exception(verbose: Callable[[], bool]) -> Processor:
    """Return a processor that turns `exc_info` into `error`.

    Adds a traceback to errors that were not raised on purpose, and to all errors if `verbose` says so.
    """

    def describe(_: WrappedLogger, __: str, event_dict: EventDict) -> EventDict:
        exc = _exception(event_dict.pop("exc_info", None))
        if exc is not None:
            event_dict["error"] = _foreign(exc)
            if verbose() or not isinstance(exc, MonitorError):
                event_dict["traceback"] = "".join(traceback.format_exception(exc))
        return event_dict

    return describe


def _exception(exc_info: object) -> BaseException | None:
    """Return the exception that `exc_info` means: itself, a tuple of three, or True for the current one."""
    if isinstance(exc_info, tuple):
        exc_info = exc_info[1]
    elif exc_info is True:
        exc_info = sys.exception()
    return exc_info if isinstance(exc_info, BaseException) else None


def _render_json(_: WrappedLogger, __: str, event_dict: EventDict) -> str:
    try:
        return msgspec.json.encode(event_dict, enc_hook=_foreign).decode()
    except _UNSAYABLE:
        sayable = {_sayable(key): _sayable(value) for key, value in event_dict.items()}
        return msgspec.json.encode(sayable, enc_hook=_foreign).decode()


# Not a string, a lone surrogate, a value that holds itself.
_UNSAYABLE = (TypeError, ValueError, OverflowError, RecursionError)


def _sayable(value: Any) -> Any:
    """Return a value as it is if JSON can represent it, else its repr."""
    try:
        msgspec.json.encode(value, enc_hook=_foreign)
    except _UNSAYABLE:
        return _foreign(value)
    return value


def _foreign(value: object) -> str:
    """Return text for a value that JSON has no type for; must never fail."""
    try:
        match value:
            case BaseException():
                text = f"{type(value).__name__}: {value}"
            case PurePath():
                text = str(value)
            case _:
                text = repr(value)
    except Exception:  # noqa: BLE001 - a foreign __repr__ may raise anything, and a log line must not
        text = f"<{type(value).__name__} without a text>"
    return text.encode(errors="replace").decode()
