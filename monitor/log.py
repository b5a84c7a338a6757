"""The structured log, as JSON lines or as text, which includes the standard library's records.

The pieces are values: nothing here touches structlog's global configuration. The one thing that is global by
nature, the root logger of `logging`, is taken over by `route_standard_library`, whose result restores it.
"""

import contextlib
import logging
import re
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from typing import Any, Literal, TextIO, cast

import msgspec
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from monitor.clock import Clock, SystemClock, rfc3339
from monitor.errors import MonitorError
from monitor.http.redactor import Redactor
from monitor.lines import Line, LineWriter

LogFormat = Literal["json", "console"]

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}

_AT_ONCE = 5.0
"""Similar lines that may be written at once; each second allows another one."""
_TOLD_AFTER_S = 10.0
_MOST_KINDS = 1000
_TEMPLATE_LENGTH = 200
_VARYING = re.compile(r"0x[0-9a-fA-F]+|\d+")
"""What tells apart lines that say the same: addresses and numbers."""

_MESSAGES_OF_LEVEL = {"warn": "warning", "exception": "error", "fatal": "critical"}


def build_logger(
    format: LogFormat,  # noqa: A002 - the name of the setting
    level: str,
    out: LineWriter | TextIO,
    *,
    clock: Clock | None = None,
    redactor: Redactor | None = None,
) -> FilteringBoundLogger:
    """Return a logger that writes to `out`; `set_level` changes its level later.

    Its calls return the `Line` that they wrote, None below its level.

    Args:
        format: `json`, or `console` for people.
        level: A key of `LEVELS`. Calls below it do nothing, and cost next to nothing.
        out: Gets the lines. A stream gets each at once, and may make the caller wait.
        clock: For the timestamps; the machine's if None.
        redactor: Hides secrets in whatever is logged, as a last wall: where they come in they are hidden too.
    """
    # A class of its own for this logger and all that are bound from it: a new level changes its methods, so
    # every component sees it at once, and a call below the level stays an empty function.
    wrapper: Any = type("Logger", (structlog.make_filtering_bound_logger(logging.NOTSET),), {})

    def verbose() -> bool:
        return bool(wrapper.is_enabled_for(None, logging.DEBUG))

    console = structlog.dev.ConsoleRenderer(colors=False, sort_keys=False)
    render: Processor = _render_json if format == "json" else cast("Processor", console)
    if redactor is not None:
        render = _without_secrets(render, redactor)
    head = _head(clock or SystemClock())
    processors: list[Processor] = [head, _describe_exception(verbose), render]
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


class Repeats:
    """Lets a few lines of each kind through, and tells ten seconds later how many more there were.

    A kind may have 5 lines at once, and then one a second.

    Args:
        log: Gets `log.suppressed`.
        clock: The time.
    """

    def __init__(self, log: FilteringBoundLogger, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._lock = threading.RLock()
        self._kinds: dict[str, _Kind] = {}
        self._teller: threading.Timer | None = None

    def passes(self, kind: str) -> bool:
        """Return whether a line of this kind may be written now; count it if not."""
        now_s = self._clock.monotonic()
        with self._lock:
            if kind not in self._kinds and len(self._kinds) >= _MOST_KINDS:
                self._kinds = {name: each for name, each in self._kinds.items() if each.matters(now_s)}
                kind = kind if len(self._kinds) < _MOST_KINDS else "other"
            found = self._kinds.setdefault(kind, _Kind(now_s))
            if found.passes(now_s):
                return True
            found.suppressed += 1
            if self._teller is None:
                teller = threading.Timer(_TOLD_AFTER_S, self.tell)
                teller.daemon = True
                with contextlib.suppress(RuntimeError):  # no more threads now; the next line tries again
                    teller.start()
                    self._teller = teller
            return False

    def tell(self) -> None:
        """Log how many lines of each kind did not pass since this was last told."""
        with self._lock:
            if self._teller is not None:
                self._teller.cancel()
                self._teller = None
            untold = [(name, kind.suppressed) for name, kind in self._kinds.items() if kind.suppressed]
            for name, _ in untold:
                self._kinds[name].suppressed = 0
        for name, count in untold:
            self._log.warning("log.suppressed", lines=count, similar_to=name)


@dataclass(slots=True)
class _Kind:
    """How many lines of a kind may still pass, as of an instant, and how many did not."""

    at_s: float
    left: float = _AT_ONCE
    suppressed: int = 0

    def matters(self, now_s: float) -> bool:
        return self.suppressed > 0 or now_s - self.at_s < _AT_ONCE

    def passes(self, now_s: float) -> bool:
        self.left = min(_AT_ONCE, self.left + max(now_s - self.at_s, 0.0))
        self.at_s = now_s
        if self.left < 1:
            return False
        self.left -= 1
        return True


def route_standard_library(logger: FilteringBoundLogger, *, clock: Clock | None = None) -> Callable[[], None]:
    """Send what others log at WARNING and above to `logger`; return what undoes it.

    That is the records of `logging`, warnings, and uncaught exceptions of threads and finalizers; of similar
    ones only a few a second.
    """
    repeats = Repeats(logger, clock or SystemClock())
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    hooks = threading.excepthook, sys.unraisablehook
    root.handlers[:] = [_Bridge(logger, repeats)]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    threading.excepthook, sys.unraisablehook = _log_thread_exception, _log_unraisable

    def undo() -> None:
        threading.excepthook, sys.unraisablehook = hooks
        logging.captureWarnings(False)
        root.handlers[:] = before
        root.setLevel(level)
        repeats.tell()

    return undo


def _log_thread_exception(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit:
        name = args.thread.name if args.thread else "?"
        logging.getLogger("threading").error("the thread %s ended", name, exc_info=args.exc_value)


def _log_unraisable(args: "sys.UnraisableHookArgs") -> None:
    logging.getLogger("python").error(
        "%s %r", args.err_msg or "Exception ignored in", args.object, exc_info=args.exc_value
    )


class _Bridge(logging.Handler):
    """Writes standard-library records as events, with the logger's name as a field."""

    def __init__(self, logger: FilteringBoundLogger, repeats: Repeats) -> None:
        super().__init__(logging.WARNING)
        self._log = logger
        self._repeats = repeats

    def emit(self, record: logging.LogRecord) -> None:
        # By the message before its arguments are put in; some libraries have put them in already.
        template = _VARYING.sub("…", str(record.msg).partition("\n")[0][:_TEMPLATE_LENGTH])
        if not self._repeats.passes(f"{record.name}: {template}"):
            return
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - arguments that do not fit, or cannot be shown
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


def _without_secrets(render: Processor, redactor: Redactor) -> Processor:
    """Return a processor that renders a line, once more with every text hidden if it holds a secret."""

    def renders(logger: WrappedLogger, method: str, event_dict: EventDict) -> str:
        line = str(render(logger, method, dict(event_dict)))
        if redactor.hide(line) == line:
            return line
        sayable = msgspec.json.decode(_render_json(logger, method, event_dict))
        return str(render(logger, method, redactor.hide_in(sayable)))

    return renders


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
