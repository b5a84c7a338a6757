"""The list of an account's connections, read."""

from dataclasses import dataclass

import msgspec

from monitor.errors import DecodeError
from monitor.voicelink.failure import UNREADABLE_JSON, decode_envelope
from monitor.voicelink.text import NAME_LIMIT, clean_any, is_true
from monitor.voicelink.wire import ConnectionList, WireConnection

PROVIDER = "voicelink"

_LIST = msgspec.json.Decoder(list[WireConnection])
_WRAPPED = msgspec.json.Decoder(ConnectionList)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteConnection:
    """A VoiceLink connection that the provider lists for a key."""

    id: str
    name: str
    active: bool


def decode_connections(body: bytes) -> list[RemoteConnection]:
    """Return the VoiceLink connections of an answer, as `data` or as `data.connections`.

    An entry that cannot be read fails the whole list: a failed discovery keeps the old one, a short one
    would end what is watched.

    Raises:
        SyncError: The answer says `success: false`.
        DecodeError: It cannot be read.
    """
    data = bytes(decode_envelope(body))
    wrapped = data.lstrip()[:1] == b"{"
    path = "data.connections" if wrapped else "data"
    if not data:
        raise DecodeError(path, "missing")
    try:
        entries = _WRAPPED.decode(data).connections if wrapped else _LIST.decode(data)
    except UNREADABLE_JSON as exc:
        raise DecodeError(path, str(exc)) from exc
    return list({remote.id: remote for remote in map(_read, filter(_is_voicelink, entries))}.values())


def _is_voicelink(entry: WireConnection) -> bool:
    """Whether it is VoiceLink's; one that names no provider is, for the request asked for no other."""
    return clean_any(entry.provider, NAME_LIMIT).casefold() in ("", PROVIDER)


def _read(entry: WireConnection) -> RemoteConnection:
    # Both ids are documented, not their difference; the sync endpoint calls its parameter `connection_id`.
    identity = clean_any(entry.connection_id, NAME_LIMIT) or clean_any(entry.id, NAME_LIMIT)
    if not identity:
        raise DecodeError("data.connections", "an entry has no id")
    status = clean_any(entry.status, NAME_LIMIT).casefold()
    # Without a status it counts as active: a connection that is refused is noticed, one not watched is not.
    active = entry.status is None or status == "active" or is_true(entry.status)
    return RemoteConnection(id=identity, name=clean_any(entry.name, NAME_LIMIT) or identity, active=active)
