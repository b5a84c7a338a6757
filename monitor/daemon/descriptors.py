"""How many files and sockets this process may have open, and how many of them the web port may take.

Syncs, deliveries and the store come first; the web port gets what they leave: there, strangers could take any
number.
"""

import contextlib
import resource

from monitor.config import Config

_ENOUGH = 65_536
"""More is of no use, and some libraries go through all that there may be."""
_OF_PROCESS = 64
"""Standard streams, event loop, log, lock, files that are read again, connections just accepted."""
_OF_STORE = 24
"""Five connections to SQLite, with database, journal and index each."""
_OF_SYNC = 2
"""Its connection, and the second address that is tried beside the first, or the lookup before it."""
_OF_RECEIVER = 8
_LEAST = 8


def open_files() -> int:
    """Return how many files this process can have open."""
    return _number(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def reachable_open_files() -> int:
    """Return how many files a process with the limits of this one can have open once it raised them."""
    return max(open_files(), min(_number(resource.getrlimit(resource.RLIMIT_NOFILE)[1]), _ENOUGH))


def raise_limit() -> None:
    """Raise the limit on open files as far as this process may, and as far as it is of use."""
    reachable = reachable_open_files()
    if open_files() < reachable:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid it: what there is must do
            resource.setrlimit(resource.RLIMIT_NOFILE, (reachable, hard))


def web_connections(config: Config, limit: int) -> int:
    """Return how many connections to the web port may be open: as configured, or as many as are left.

    Args:
        config: Says what syncs and deliveries may need.
        limit: On open files.
    """
    syncs = _OF_SYNC * config.schedule.max_concurrent_syncs
    receivers = _OF_RECEIVER * (len(config.receivers) + 1)  # and the heartbeat
    left = limit - _OF_PROCESS - _OF_STORE - syncs - receivers
    return min(config.web.max_connections, max(left, _LEAST))


def descriptor_warning(config: Config, limit: int) -> str | None:
    """Return what to say where a limit on open files is too low for the config; None: it is not."""
    wanted, possible = config.web.max_connections, web_connections(config, limit)
    if possible == wanted:
        return None
    return (
        f"web.max_connections is {wanted}, but a limit of {limit} open files leaves only {possible} beside "
        "syncs, deliveries and the store; raise the limit (ulimit -n, LimitNOFILE=)"
    )


def _number(limit: int) -> int:
    return _ENOUGH if limit == resource.RLIM_INFINITY else limit
