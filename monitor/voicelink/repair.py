"""Entries that are not typed as seen before, read with patience.

What the provider forwards "may vary": one odd id must not cost the whole entry. A field of a type that means
nothing to us counts as missing, which is not the same as `null`; what is left must still fit the struct.
"""

from typing import Any, TypeVar

import msgspec

from monitor.voicelink.text import LABEL_LIMIT, clean_any, clean_id
from monitor.voicelink.wire import (
    WireActionItem,
    WireAgent,
    WireBot,
    WireDid,
    WireDrift,
    WireLocalNumber,
    WireReadiness,
    WireRouting,
)

_OBJECTS: dict[str, type[msgspec.Struct]] = {
    "remote_did": WireDid,
    "local_phone_number": WireLocalNumber,
    "routing": WireRouting,
    "bot": WireBot,
    "agent": WireAgent,
}
_TEXTS = frozenset({"key", "phone_number", "state", "action", "code", "label", "bot_name", "name"})
_LISTS = frozenset({"issues", "actions", "action_items"})

Entry = TypeVar("Entry", WireReadiness, WireDrift)


def repair(value: Any, struct: type[Entry]) -> Entry:
    """Return the entry that decoded JSON holds.

    Raises:
        msgspec.ValidationError: It holds none: no object, or issues that are no list of codes.
    """
    if not isinstance(value, dict):
        raise msgspec.ValidationError("Expected `object`")
    return msgspec.convert(_fields(value, struct), struct)


def _fields(value: dict[str, Any], struct: type[msgspec.Struct]) -> dict[str, Any]:
    names = [field.encode_name for field in msgspec.structs.fields(struct)]
    fields = {name: _field(name, value[name]) for name in names if name in value}
    return {name: field for name, field in fields.items() if field is not None or value[name] is None}


def _field(name: str, value: Any) -> Any:
    if name in _OBJECTS:
        return _fields(value, _OBJECTS[name]) if isinstance(value, dict) else None
    if name in _TEXTS:
        return value if isinstance(value, str) else clean_any(value, LABEL_LIMIT) or None
    if name in _LISTS:
        return _list(name, value)
    if name in ("is_expired", "status"):
        return value if isinstance(value, bool | int | str) else None
    return value if isinstance(value, str) else clean_id(value)


def _list(name: str, value: Any) -> Any:
    """Return a list with its elements repaired; issues stay as they are: they decide about drift."""
    if name == "issues":
        return value
    if not isinstance(value, list):
        return None
    if name == "actions":
        return [clean_any(text, LABEL_LIMIT) for text in value]
    return [_fields(item, WireActionItem) for item in value if isinstance(item, dict)]
