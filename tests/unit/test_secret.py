"""Secrets: read from files that change, and never shown."""

import copy
import os
import pickle
from pathlib import Path

import pytest

from monitor.errors import StartError
from monitor.secret import Secret

VALUE = "rg_live_secret"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file that holds a secret."""
    path = tmp_path / "key"
    path.write_text(f"  {VALUE}\n", encoding="utf-8")
    return path


def test_secret_is_revealed_on_purpose_only(file: Path) -> None:
    """No way of showing the object shows what is in it."""
    for secret in (Secret(VALUE), Secret(file=file)):
        assert secret.reveal() == VALUE
        for shown in (str(secret), repr(secret), f"{secret}", "%s" % secret, repr([secret])):  # noqa: UP031 - one more way to show it
            assert VALUE not in shown
        assert VALUE.encode() not in pickle.dumps(secret)
        assert not hasattr(secret, "__dict__")


def test_copy_of_a_secret_holds_nothing() -> None:
    """What copies and pickles carry away is empty."""
    assert copy.deepcopy(Secret(VALUE)).reveal() == ""


def test_refresh_sees_a_new_value(file: Path) -> None:
    """A changed file is read again; an unchanged one is not news."""
    secret = Secret(file=file)
    assert secret.refresh() is False
    file.write_text("another", encoding="utf-8")
    assert secret.reveal() == VALUE
    assert secret.refresh() is True
    assert secret.reveal() == "another"


def test_new_value_is_told_before_it_is_used(file: Path) -> None:
    """Who hides secrets knows it before a request can be made with it; an unchanged one is not told again."""
    secret, told = Secret(file=file), []

    def learn(value: str) -> None:
        told.append((value, secret.reveal()))

    assert secret.refresh(learn) is False
    file.write_text("another", encoding="utf-8")
    assert secret.refresh(learn) is True
    file.touch()
    assert secret.refresh(learn) is False
    assert told == [("another", VALUE)]


def test_refresh_follows_a_link_that_is_swapped(tmp_path: Path) -> None:
    """Mounted secrets are swapped by renaming a link; both files may have the same size and age."""
    for name in ("old", "new"):
        (tmp_path / name).write_text(f"{name}-key", encoding="utf-8")
    link = tmp_path / "key"
    link.symlink_to("old")
    secret = Secret(file=link)
    (tmp_path / "next").symlink_to("new")
    (tmp_path / "next").rename(link)
    assert secret.refresh() is True
    assert secret.reveal() == "new-key"


@pytest.mark.parametrize(
    "content", [None, b"", b" \n", b"\xff\xfe"], ids=["gone", "empty", "blank", "binary"]
)
def test_refresh_keeps_the_secret_while_its_file_is_unusable(file: Path, content: bytes | None) -> None:
    """A mount that is being replaced has such moments; once it is whole again it is read."""
    secret = Secret(file=file)
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    assert secret.refresh() is False
    assert secret.reveal() == VALUE
    assert str(file) in (secret.refused or "")
    file.write_text("whole again", encoding="utf-8")
    assert secret.refresh() is True
    assert not secret.refused
    assert secret.reveal() == "whole again"


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "cannot be read: No such file"), (b"", "is empty"), (b" \n", "is empty"), (b"\xff", "not UTF-8")],
    ids=["missing", "empty", "blank", "binary"],
)
def test_unusable_file_is_a_start_error(tmp_path: Path, content: bytes | None, problem: str) -> None:
    """The error names the file and why, so that it can be mended."""
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StartError, match=problem) as caught:
        Secret(file=path)
    assert str(path) in str(caught.value)


def test_folder_for_a_file_is_a_start_error(tmp_path: Path) -> None:
    """A folder where the file should be is said to be one."""
    with pytest.raises(StartError, match="Is a directory"):
        Secret(file=tmp_path)


def test_pipe_or_device_is_refused_unread(file: Path) -> None:
    """No one waits for a pipe that nobody writes to, or reads a device without end, at a start or later."""
    secret = Secret(file=file)
    file.unlink()
    os.mkfifo(file)
    for unending in (file, Path("/dev/zero")):
        with pytest.raises(StartError, match="is a pipe or a device"):
            Secret(file=unending)
    assert secret.refresh() is False
    assert "is a pipe or a device" in (secret.refused or "")
    assert secret.reveal() == VALUE


def test_value_has_no_file_and_never_changes() -> None:
    """A secret given as a value is what it is."""
    secret = Secret(VALUE)
    assert secret.file is None
    assert secret.refresh() is False
