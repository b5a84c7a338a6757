"""A process without file descriptors, and how the system says that it has none of this or that."""

import contextlib
import errno
import os
import resource
import socket
from collections.abc import Iterator

from monitor.errors import OutOfResources, Resource

LACKS: dict[str, tuple[Exception, Resource]] = {
    "EMFILE": (OSError(errno.EMFILE, "x"), Resource.DESCRIPTORS),
    "ENFILE": (OSError(errno.ENFILE, "x"), Resource.DESCRIPTORS),
    "ENOMEM": (OSError(errno.ENOMEM, "x"), Resource.MEMORY),
    "ENOBUFS": (OSError(errno.ENOBUFS, "x"), Resource.MEMORY),
    "EAI_MEMORY": (socket.gaierror(socket.EAI_MEMORY, "x"), Resource.MEMORY),
    "MemoryError": (MemoryError(), Resource.MEMORY),
    "thread": (RuntimeError("can't start new thread"), Resource.THREADS),
    "known": (OutOfResources(Resource.THREADS), Resource.THREADS),
}


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """Let this process open nothing more; what is open stays open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(2)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
