"""Packs what is small and kept often: alert bodies, the tracks of episodes, entries of the journal.

They say much the same, so they are compressed with a dictionary of what most of them say, which makes a fifth
of one that is about a single number.
"""

import threading
from datetime import UTC, datetime

import msgspec
import zstandard

_LEVEL = 5

# What is stored is read with it: it must stay as it is, to the last letter.
_BODIES = (
    '"resolution":"accepted","resolution":"ignored","resolution":"silenced","resolution":"removed","summary":'
    '"receiver is not accepting alerts","kind":"receiver_failing","kind":"api_unavailable","kind":'
    '"account_rejected","kind":"connection_rejected","kind":"answer_unreadable","kind":"sync_stale","kind":'
    '"number_removed","kind":"reconfigured","change":"updated","change":"reminder","change":"acknowledged",'
    '"severity":"info","severity":"warning","common_names":{"client_id":"","bot_id":""},"is":{"bot_id":null,'
    '"routing_target":null,"agent_id":null,"bot_active":false,"routing_active":false,"number_active":false}},'
    '"issues":["NO_VOCOBASE_AGENT"],"issues":["ROUTING_MISSING","NO_BOT"],"state":"EXPIRED","state":"gone",'
    '"code":"ROUTING_MISSING","label":"Create VoiceLink call routing for this DID"}],"code":'
    '"NO_VOCOBASE_AGENT","label":"Assign a Vocobase agent to the local PhoneNumber row"}],"first_step":'
    '"Nothing: it has recovered.",'
    '"first_step":"Assign a Vocobase agent to the local PhoneNumber row of client ","first_step":'
    '"Create VoiceLink call routing for DID + of client Client ",'
    '"acknowledged":{"by":"","at":"2026-01-01T00:00:00.000Z","note":null},"widespread":true,"connection":null,'
    '{"alert_id":"0123456789abcdef","kind":"drift","change":"resolved","status":"resolved",'
    '"resolution":"recovered","severity":"critical","summary":": 1 number was NO_BOT, all on client 415",'
    '"resolved_at":"2026-01-01T00:00:00.000Z","version":2,"numbers_total":0,"numbers_ended":1,'
    '{"alert_id":"0123456789abcdef","kind":"drift","change":"opened","status":"firing",'
    '"resolution":null,"severity":"warning","summary":": 1 number NO_BOT, all on client ","instance":'
    '"voicelink-monitor","connection":"","account":"","state":"NO_BOT","started_at":"2026-01-01T00:00:00.000Z",'
    '"updated_at":"2026-01-01T00:00:00.000Z","resolved_at":null,"version":1,"numbers_total":1,'
    '"numbers_listed":1,"numbers":[{"key":"918","phone_number":"+918","state":"NO_BOT","previous_state":"READY",'
    '"issues":["NO_BOT"],"action_items":[{"code":"NO_BOT","label":'
    '"Create an active VoiceLink WebSocket bot for the mapped client"}],'
    '"did_id":1,"client_id":1,"since":"2026-01-01T00:00:00.000Z","flaps":0}],"numbers_added":1,'
    '"numbers_ended":0,"connections":[""],"common":{"client_id":415,"bot_id":93,"routing_target":'
    '"inbound:bot:93 outbound:bot:93","agent_id":"agent_415"},"common_names":{"client_id":"","bot_id":"",'
    '"agent_id":""},"changes_total":1,"changes":[{"key":"918","phone_number":"+918","change":"resolved",'
    '"previous_state":"NO_BOT","state":"READY","previous_issues":["NO_BOT"],"issues":[],"was":{"routing_target":'
    '"inbound:bot:93 outbound:bot:93"},"is":{"routing_target":null}}],"first_step":'
    '"Create an active VoiceLink WebSocket bot for client ","widespread":false,"part_of":null,'
    '"acknowledged":null,"acknowledgement_ended":null,"actions":[{"code":"NO_BOT","label":'
    '"Create an active VoiceLink WebSocket bot for the mapped client","numbers":1}],"labels":{},"url":'
    '"https:///alerts/","runbook_url":"https:///runbooks/drift"}'
)
_AT = datetime(2026, 1, 1, microsecond=1, tzinfo=UTC)
_DEPENDENCIES = [10000, 20000000, "inbound:bot:93 outbound:bot:93", "agent_415", True, True, True, []]
_READY = ["918", "+918", "READY", False, [], [], 812, _DEPENDENCIES]
_BROKEN = [
    ["918", "+918", code, True, [code], [[code, label]], 812, _DEPENDENCIES]
    for code, label in (
        ("NO_VOCOBASE_AGENT", "Assign a Vocobase agent to the local PhoneNumber row"),
        ("ROUTING_MISSING", "Create VoiceLink call routing for this DID"),
        ("NO_BOT", "Create an active VoiceLink WebSocket bot for the mapped client"),
    )
]
_INVENTORY = {
    "clients": 2,
    "dids": 10,
    "available_dids": 0,
    "bots": 2,
    "routing": 7,
    "local_phone_numbers": 10,
}
_ENTRY = [[[{}, _INVENTORY, [], 0, {}, {}], {"918": _READY}, [], {}, []], [], False]
_EPISODE = ["", "", "NO_BOT", _AT, "critical", 0]
_TRACK = [
    *("drift", "918", _AT, _BROKEN[-1], "READY", _DEPENDENCIES, "", 2, 2, _AT, 0),
    *(_EPISODE, _READY, _READY),
]
_TYPICAL = b"".join(msgspec.msgpack.encode(each) for each in (_BROKEN, _ENTRY, _TRACK)) + _BODIES.encode()
_DICTIONARY = zstandard.ZstdCompressionDict(_TYPICAL, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


class _Tools(threading.local):
    """What packs and unpacks; a thread must not use another one's."""

    def __init__(self) -> None:
        self.packer = zstandard.ZstdCompressor(level=_LEVEL, dict_data=_DICTIONARY)
        self.unpacker = zstandard.ZstdDecompressor(dict_data=_DICTIONARY)


_TOOLS = _Tools()


def pack(plain: bytes) -> bytes:
    """Return bytes as they are stored."""
    return _TOOLS.packer.compress(plain)


def unpack(packed: bytes) -> bytes:
    """Return what `pack` was given."""
    return _TOOLS.unpacker.decompress(packed)
