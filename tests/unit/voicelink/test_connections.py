"""The list of connections, read."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import DecodeError, Outcome, SyncError
from monitor.voicelink.connections import RemoteConnection, decode_connections

ENTRY = {
    "id": "row-1",
    "connection_id": "9b7f1c44",
    "provider": "voicelink",
    "provider_key": "voicelink",
    "name": "Sales",
    "status": "ACTIVE",
    "is_default": True,
    "phone_numbers": [],
}


def _body(data: Any) -> bytes:
    return json.dumps({"success": True, "data": data}).encode()


@pytest.mark.parametrize("data", [[ENTRY], {"connections": [ENTRY]}], ids=["list", "wrapped"])
def test_connections_are_read_in_both_wrappings(data: Any) -> None:
    """`data` may be the list, or hold it as `connections`."""
    assert decode_connections(_body(data)) == [RemoteConnection(id="9b7f1c44", name="Sales", active=True)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(
            {"status": "INACTIVE"}, RemoteConnection(id="9b7f1c44", name="Sales", active=False), id="inactive"
        ),
        pytest.param(
            {"status": None}, RemoteConnection(id="9b7f1c44", name="Sales", active=True), id="no status"
        ),
        pytest.param(
            {"connection_id": None}, RemoteConnection(id="row-1", name="Sales", active=True), id="only id"
        ),
        pytest.param(
            {"connection_id": 12}, RemoteConnection(id="12", name="Sales", active=True), id="integer id"
        ),
        pytest.param(
            {"name": ""}, RemoteConnection(id="9b7f1c44", name="9b7f1c44", active=True), id="no name"
        ),
        pytest.param({"provider": "twilio"}, None, id="another provider"),
        pytest.param(
            {"provider": None}, RemoteConnection(id="9b7f1c44", name="Sales", active=True), id="no provider"
        ),
    ],
)
def test_connection_is_read_leniently(change: dict[str, Any], expected: RemoteConnection | None) -> None:
    """Fields may be missing or of another type."""
    assert decode_connections(_body([ENTRY | change])) == ([expected] if expected else [])


def test_connection_listed_twice_is_one() -> None:
    """An id is one connection."""
    assert len(decode_connections(_body([ENTRY, ENTRY]))) == 1


@pytest.mark.parametrize(
    ("body", "path"),
    [
        pytest.param(b"", "$", id="empty"),
        pytest.param(b"[]", "$", id="not an object"),
        pytest.param(b'{"data": []}', "success", id="no success"),
        pytest.param(b'{"success": true}', "data", id="no data"),
        pytest.param(_body(None), "data", id="null"),
        pytest.param(_body({"items": []}), "data.connections", id="another wrapping"),
        pytest.param(_body([7]), "data", id="entry is no object"),
        pytest.param(_body([{"name": "x"}]), "data.connections", id="entry without id"),
    ],
)
def test_unreadable_list_names_the_path(body: bytes, path: str) -> None:
    """A list that cannot be read in full is an error: a short one would end what is watched."""
    with pytest.raises(DecodeError) as caught:
        decode_connections(body)
    assert caught.value.path == path


def test_list_that_failed_is_rejected() -> None:
    """`success: false` is a refusal, with its code."""
    with pytest.raises(SyncError, match="FORBIDDEN") as caught:
        decode_connections(b'{"success": false, "error": {"code": "FORBIDDEN"}}')
    assert caught.value.outcome is Outcome.REJECTED


@given(
    st.binary()
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["id", "connections", "name"]) | st.text(), inner)
        ),
    ).map(_body)
)
def test_list_of_anything_is_read_or_a_sync_error(body: bytes) -> None:
    """No answer makes another exception."""
    try:
        assert all(remote.id and remote.name for remote in decode_connections(body))
    except SyncError:
        return
