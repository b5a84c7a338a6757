"""The errors that the program raises on purpose, one class per decision of a handler.

MonitorError
├── ConfigError            the config cannot be used: print every problem, exit 2
├── StartError             the environment prevents a start (port taken, store locked): exit 2
├── StoreError
│   ├── StoreUnavailable   the database is down, full or locked: count it, try again
│   │   ├── Undone         a transaction was given up for another one's sake: run it again
│   │   ├── InDoubt        whether it was committed is not known: free what it may have leased
│   │   └── Superseded     a newer version of this program has changed it: do nothing any more
│   ├── LeaseLost          another process has taken over this work: drop the result
│   └── Outdated           what a step was made of is not so any more: load that, and make it again
├── UnknownName            a user asked for something that does not exist: say so
├── Refused                a user asked for something that is not possible now: say why
├── Busy                   a user asked for what is done once at a time: say that it is, try again
├── Invalid                a user gave a value that cannot be used: say which, and what would be right
├── SyncError              a sync that failed, with its `Outcome`
│   └── DecodeError        the answer could not be read; names the path in it
├── NoAnswer               a request got no answer, with its `Cause`; in `monitor.http.errors`
├── OutOfResources         this process lacks descriptors, memory or threads: blame no one else, try again
└── DeliveryError          a receiver did not accept a message, with its `Refusal`
"""

import contextlib
import difflib
import errno
import os
import socket
import sqlite3
import ssl
from collections.abc import Iterable, Iterator
from enum import StrEnum


class Outcome(StrEnum):
    """How a sync ended; also the `outcome` label of `voicelink_syncs_total`."""

    OK = "ok"
    HELD = "held"
    NETWORK = "network"
    TIMEOUT = "timeout"
    SERVER_ERROR = "server_error"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    REJECTED = "rejected"
    INVALID_RESPONSE = "invalid_response"
    TOO_LARGE = "too_large"
    RATE_LIMITED = "rate_limited"

    @property
    def answered(self) -> bool:
        """Whether the provider gave a readable answer."""
        return self in (Outcome.OK, Outcome.HELD)

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed a moment later."""
        return self in (Outcome.NETWORK, Outcome.TIMEOUT, Outcome.SERVER_ERROR)


class Refusal(StrEnum):
    """What a failed delivery means for the next try."""

    RETRY = "retry"
    """Network, timeout, 408, 429, 5xx: back off and retry without limit."""
    FAILING = "failing"
    """401, 403, 404: the receiver's settings need fixing; retry every five minutes and alert."""
    GONE = "gone"
    """410: as `FAILING`, but no message to this receiver is tried until a reload or until a user asks."""
    DEAD = "dead"
    """400, 413, 422: this message will never be accepted."""

    @property
    def needs_fixing(self) -> bool:
        """Whether the receiver's settings are wrong, so that waiting does not help."""
        return self in (Refusal.FAILING, Refusal.GONE)


class Resource(StrEnum):
    """What a process can run out of."""

    DESCRIPTORS = "file descriptors"
    MEMORY = "memory"
    THREADS = "threads"


class MonitorError(Exception):
    """The root of these errors; its text can be shown to users."""


class ConfigError(MonitorError):
    """The configuration cannot be used.

    Args:
        problems: One sentence each: what is wrong, at which key, what to do. Never holds a value.
        source: The file the problems were found in, if there is one.
        elsewhere: Problems of other things than that file.
    """

    def __init__(self, problems: list[str], source: str | None = None, elsewhere: Iterable[str] = ()) -> None:
        self.problems = [*problems, *elsewhere]
        self.source = source
        where = f"{source}: " if source else ""
        super().__init__("\n".join([*(where + problem for problem in problems), *elsewhere]))


class StartError(MonitorError):
    """The environment prevents a start, for a reason that the user can fix."""


class StoreError(MonitorError):
    """A store operation failed, and left nothing half written."""


class StoreUnavailable(StoreError):  # noqa: N818 - named for the state it reports
    """The database is down, locked, full or read-only right now.

    Args:
        message: What happened; may name paths and hosts.
        reason: The same for everybody who may ask, without them.
    """

    def __init__(self, message: str, reason: str = "see store.failed in the log") -> None:
        self.reason = reason
        super().__init__(message)


class Undone(StoreUnavailable):
    """A transaction was given up for another one's sake, or with its connection: it can run again at once."""


class InDoubt(StoreUnavailable):
    """The database has not said whether it committed a transaction."""


class Superseded(StoreUnavailable):
    """A newer version of this program has changed the database: this one must not act any more."""


class LeaseLost(StoreError):  # noqa: N818 - named for what happened
    """Another process has taken over this work; the result must be dropped."""


class Outdated(StoreError):  # noqa: N818 - named for what happened
    """What a step was made of is not so any more; nothing of it was kept."""


class UnknownName(MonitorError):  # noqa: N818 - named for what happened
    """A user asked for something that does not exist."""


class NoHistory(MonitorError):  # noqa: N818 - named for what is missing
    """A user asked for what the store does not reach back to."""


class Refused(MonitorError):  # noqa: N818 - named for what happened
    """A user asked for something that is not possible now."""


class Busy(MonitorError):  # noqa: N818 - named for what it is
    """A user asked for something that is done once at a time, and is being done."""


class Invalid(MonitorError):  # noqa: N818 - named for what it is
    """A user gave a value that cannot be used.

    Args:
        what: What is wrong with it, without the value.
        field: Which value.
    """

    def __init__(self, what: str, field: str) -> None:
        self.field = field
        super().__init__(what)


class OutOfResources(MonitorError):  # noqa: N818 - named for what happened
    """This process lacks a resource; what it failed at says nothing about the other side.

    Args:
        resource: What it lacks.
    """

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        super().__init__(f"out of {resource}")


class SyncError(MonitorError):
    """A sync that failed.

    Args:
        outcome: The cause, never `ok` or `held`.
        message: What happened, without secrets or phone numbers.
        retry_after_s: Seconds the provider asked to wait, if it did.
    """

    def __init__(self, outcome: Outcome, message: str, *, retry_after_s: float | None = None) -> None:
        self.outcome = outcome
        self.retry_after_s = retry_after_s
        super().__init__(message)


class DecodeError(SyncError):
    """An answer that could not be read.

    Args:
        path: Where in the answer, like `data.readiness`.
        problem: What is wrong there.
    """

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        super().__init__(Outcome.INVALID_RESPONSE, f"answer unreadable at {path}: {problem}")


class DeliveryError(MonitorError):
    """A receiver did not accept a message.

    Args:
        refusal: What it means for the next try.
        message: What the other side answered, short, without secrets.
        retry_after_s: Seconds the receiver asked to wait, if it did.
        answered: Whether the receiver itself said no; False: nothing answered, or nothing was sent.
    """

    def __init__(
        self,
        refusal: Refusal,
        message: str,
        *,
        retry_after_s: float | None = None,
        answered: bool = False,
    ) -> None:
        self.refusal = refusal
        self.answered = answered
        self.retry_after_s = retry_after_s
        super().__init__(message)


_LACKS = {
    errno.EMFILE: Resource.DESCRIPTORS,
    errno.ENFILE: Resource.DESCRIPTORS,
    errno.ENOMEM: Resource.MEMORY,
    errno.ENOBUFS: Resource.MEMORY,
    socket.EAI_MEMORY: Resource.MEMORY,  # a gaierror's number; negative with glibc, so none of the above
}
_NO_THREAD = "can't start new thread"
"""CPython's words; the exception is a plain RuntimeError."""
_DESCRIPTORS_AT_ONCE = 8
"""What a name lookup and a connection may need together."""


def out_of_resources(exc: BaseException) -> OutOfResources | None:
    """Return the lack of resources that is behind an exception, however wrapped; None: it is something else.

    Some calls hide the lack: without descriptors, a name lookup says that the name does not exist, and SQLite
    that it cannot open the file. After those it is tried whether there are descriptors right now.
    """
    for each in chain_of(exc):
        if isinstance(each, OutOfResources):
            return each
        resource = _lacking(each)
        if resource is not None:
            return OutOfResources(resource)
    return None


def chain_of(exc: BaseException) -> Iterator[BaseException]:
    """Yield an exception and all that are behind it."""
    behind: BaseException | None = exc
    while behind is not None:
        yield behind
        behind = behind.__cause__ or behind.__context__  # some libraries raise `from None`


def _lacking(exc: BaseException) -> Resource | None:
    match exc:
        case MemoryError():
            return Resource.MEMORY
        case RuntimeError() if str(exc) == _NO_THREAD:
            return Resource.THREADS
        case ssl.SSLError():
            return None  # its number is one of OpenSSL's
        case OSError(errno=int(number)) if number in _LACKS:
            return _LACKS[number]
        case _:
            pass
    return Resource.DESCRIPTORS if _hides_a_lack(exc) and few_descriptors_left() else None


def _hides_a_lack(exc: BaseException) -> bool:
    """Whether this is all that some calls say when they get no descriptor."""
    match exc:
        case sqlite3.Error(sqlite_errorcode=int(code)):
            return code & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR)
        case TimeoutError() | ConnectionError():
            return False
        case OSError():  # a failed lookup has no errno, nor have the failures of several addresses together
            return exc.errno is None or exc.errno < 0
        case _:
            return False


def few_descriptors_left() -> bool:
    """Return whether this process cannot open a handful of files right now."""
    with contextlib.ExitStack() as stack:
        try:
            for _ in range(_DESCRIPTORS_AT_ONCE):
                stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        except OSError as exc:
            return exc.errno in (errno.EMFILE, errno.ENFILE)
    return False


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the closest known name, ignoring case, for "did you mean"."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    close = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.5)
    return by_folded[close[0]] if close else None


_MOST_KNOWN = 20


def unknown_name(what: str, name: str, known: Iterable[str]) -> str:
    """Return the message for a name that no connection or receiver has."""
    names = sorted(known)
    close = nearest(name, names)
    more = f" and {len(names) - _MOST_KNOWN} more" if len(names) > _MOST_KNOWN else ""
    hint = f"did you mean {close}?" if close else f"known: {', '.join(names[:_MOST_KNOWN]) or 'none'}{more}"
    return f"no {what} is called {name}; {hint}"
