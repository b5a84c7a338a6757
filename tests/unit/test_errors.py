"""A lack of resources told from everything else; names that nothing has."""

import errno
import socket
import sqlite3
import ssl
import threading
from pathlib import Path

import pytest

from monitor.errors import Resource, out_of_resources, unknown_name
from tests.descriptors import LACKS, no_descriptors

OTHERS: dict[str, Exception] = {
    "refused": ConnectionRefusedError(errno.ECONNREFUSED, "x"),
    "OpenSSL's number 12": ssl.SSLError(errno.ENOMEM, "x"),
    "OpenSSL's number 24": ssl.SSLError(errno.EMFILE, "x"),
    "lookup": socket.gaierror(socket.EAI_NONAME, "x"),
    "summed up": OSError("Multiple exceptions"),
    "timeout": TimeoutError(),
    "hang-up": ConnectionResetError(),
    "bug": RuntimeError("x"),
}


@pytest.mark.parametrize(("exc", "lacking"), LACKS.values(), ids=LACKS)
def test_lack_is_found_behind_whatever_wraps_it(exc: Exception, lacking: Resource) -> None:
    """Libraries wrap what the system says, with and without a cause."""
    wrapped = ValueError("y")
    wrapped.__cause__ = KeyError("z")
    wrapped.__cause__.__context__ = exc
    for each in (exc, wrapped):
        found = out_of_resources(each)
        assert found is not None
        assert found.resource is lacking
        assert str(found) == f"out of {lacking}"


@pytest.mark.parametrize("exc", OTHERS.values(), ids=OTHERS)
def test_other_failures_are_no_lack(exc: Exception) -> None:
    """With descriptors to spare, none of these is this process's own fault."""
    assert out_of_resources(exc) is None


@pytest.mark.parametrize("name", ["lookup", "summed up"])
def test_vague_failure_without_descriptors_is_a_lack(name: str) -> None:
    """Without descriptors the resolver says that the name does not exist."""
    with no_descriptors():
        found = out_of_resources(OTHERS[name])
    assert found is not None
    assert found.resource is Resource.DESCRIPTORS


@pytest.mark.parametrize("name", ["refused", "timeout", "hang-up", "bug"])
def test_clear_failure_without_descriptors_stays_what_it_is(name: str) -> None:
    """Whoever refused a connection was reached."""
    with no_descriptors():
        assert out_of_resources(OTHERS[name]) is None


def test_sqlite_without_descriptors_is_a_lack(tmp_path: Path) -> None:
    """SQLite only says that it is unable to open the file."""
    with no_descriptors():
        with pytest.raises(sqlite3.OperationalError, match="unable to open") as caught:
            sqlite3.connect(tmp_path / "x.db")
        found = out_of_resources(caught.value)
    assert found is not None
    assert found.resource is Resource.DESCRIPTORS


def test_sqlite_file_that_cannot_be_opened_is_no_lack(tmp_path: Path) -> None:
    """A folder is no database, however many descriptors there are."""
    with pytest.raises(sqlite3.OperationalError, match="unable to open") as caught:
        sqlite3.connect(tmp_path)
    assert out_of_resources(caught.value) is None


def test_lookup_without_descriptors_is_a_lack() -> None:
    """Whatever the resolver of this machine answers then."""
    with no_descriptors():
        with pytest.raises(OSError) as caught:  # noqa: PT011 - which one is the resolver's choice
            socket.getaddrinfo("no-such-host.invalid", 80)
        found = out_of_resources(caught.value)
    assert found is not None
    assert found.resource is Resource.DESCRIPTORS


def test_words_of_a_refused_thread_are_cpythons() -> None:
    """The one exception that only its text tells apart."""
    needed = 1 << 46  # bytes of stack, more than there is address space
    try:
        threading.stack_size(needed)
        with pytest.raises(RuntimeError) as caught:
            threading.Thread(target=int).start()
    finally:
        threading.stack_size(0)
    found = out_of_resources(caught.value)
    assert found is not None
    assert found.resource is Resource.THREADS


def test_unknown_name_lists_no_more_names_than_people_read() -> None:
    """The nearest one; else all of a few, or the first of many and how many more there are."""
    many = [f"conn-{place:04}" for place in range(1000)]
    assert unknown_name("connection", "conn-01", many[:2]).endswith("; did you mean conn-0001?")
    assert unknown_name("connection", "x", many[:2]).endswith("; known: conn-0000, conn-0001")
    assert unknown_name("connection", "x", many).endswith(", conn-0019 and 980 more")
    assert unknown_name("receiver", "x", []).endswith("; known: none")
