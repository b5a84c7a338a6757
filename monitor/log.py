"""The structured log, as JSON lines or as text, which includes the standard library's records.

The pieces are values: nothing here touches structlog's global configuration. The one thing that is global by
nature, the root logger of `logging`, is taken over by `route_standard_library`, whose result restores it.
"""

import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, Literal, TextIO, cast

import msgspec
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from monitor.clock import Clock, SystemClock, rfc3339
from monitor.errors import MonitorError

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
    stream: TextIO,
    *,
    clock: Clock | None = None,
) -> FilteringBoundLogger:
    """Return a logger that writes to `stream`; `set_level` changes its level later.

    Args:
        format: `json`, or `console` for people.
        level: A key of `LEVELS`. Calls below it do nothing, and cost next to nothing.
        stream: Text; flushed after each line. Once its reader is gone, lines are dropped.
        clock: For the timestamps; the machine's if None.
    """
    # A class of its own for this logger and all that are bound from it: a new level changes its methods, so
    # every component sees it at once, and a call below the level stays an empty function.
    wrapper: Any = type("Logger", (structlog.make_filtering_bound_logger(logging.NOTSET),), {})

    def verbose() -> bool:
        return bool(wrapper.is_enabled_for(None, logging.DEBUG))

    render = _render_json if format == "json" else structlog.dev.ConsoleRenderer(colors=False)
    processors: list[Processor] = [
        _head(clock or SystemClock()),
        _describe_exception(verbose),
        cast("Processor", render),
    ]
    logger = cast("FilteringBoundLogger", wrapper(_LineWriter(stream), processors, {}))
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


class _LineWriter:
    """Writes lines to a stream, and drops them once its reader is gone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except BrokenPipeError:
            self._redirect()
        except (OSError, ValueError):
            return  # a full disk, a closed stream: the log has no place to say so

    debug = info = warning = error = critical = log = write

    def _redirect(self) -> None:
        # What the stream still buffers would fail again at every write and at exit.
        # https://docs.python.org/3/library/signal.html#note-on-sigpipe
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        except (OSError, ValueError):
            return


def _head(clock: Clock) -> Processor:
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
