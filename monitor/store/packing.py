"""Packs alert bodies for the store: each is kept several times, and they say much the same.

They are compressed with a dictionary of what most of them say, which makes a third of one that is about a
single number.
"""

import threading

import zstandard

_LEVEL = 3

# Stored bodies are read with it: it must stay as it is, to the last letter.
_TYPICAL = (
    '"resolution":"accepted","resolution":"ignored","resolution":"silenced","resolution":"removed","summary":'
    '"receiver is not accepting alerts","kind":"receiver_failing","kind":"api_unavailable","kind":'
    '"account_rejected","kind":"connection_rejected","kind":"answer_unreadable","kind":"sync_stale","kind":'
    '"number_removed","kind":"reconfigured","change":"updated","change":"reminder","change":"acknowledged",'
    '"severity":"info","severity":"warning","common_names":{"client_id":"","bot_id":""},"is":{"bot_id":null,'
    '"routing_target":null,"agent_id":null,"bot_active":false,"routing_active":false,"number_active":false}},'
    '"issues":["NO_VOCOBASE_AGENT"],"issues":["ROUTING_MISSING","NO_BOT"],"state":"EXPIRED","state":"gone",'
    '"label":"Assign a routing to this number","label":"Assign an agent","code":"ROUTING_MISSING",'
    '"acknowledged":{"by":"","at":"2026-01-01T00:00:00.000Z","note":null},"widespread":true,"connection":null,'
    '{"alert_id":"0123456789abcdef01234567","kind":"drift","change":"resolved","status":"resolved",'
    '"resolution":"recovered","severity":"critical","summary":": 1 number was NO_BOT, all on client 415",'
    '"resolved_at":"2026-01-01T00:00:00.000Z","version":2,"numbers_total":0,"numbers_ended":1,'
    '{"alert_id":"0123456789abcdef01234567","kind":"drift","change":"opened","status":"firing",'
    '"resolution":null,"severity":"warning","summary":": 1 number NO_BOT, all on client ","instance":'
    '"voicelink-monitor","connection":"","account":"","state":"NO_BOT","started_at":"2026-01-01T00:00:00.000Z",'
    '"updated_at":"2026-01-01T00:00:00.000Z","resolved_at":null,"version":1,"numbers_total":1,'
    '"numbers_listed":1,"numbers":[{"key":"918","phone_number":"+918","state":"NO_BOT","previous_state":"READY",'
    '"issues":["NO_BOT"],"action_items":[{"code":"NO_BOT","label":"Assign an active bot to the routing"}],'
    '"did_id":1,"client_id":1,"since":"2026-01-01T00:00:00.000Z","flaps":0}],"numbers_added":1,'
    '"numbers_ended":0,"connections":[""],"common":{"client_id":415,"bot_id":93},"common_names":{},'
    '"changes_total":1,"changes":[{"key":"918","phone_number":"+918","change":"resolved","previous_state":'
    '"NO_BOT","state":"READY","previous_issues":["NO_BOT"],"issues":[],"was":{},"is":{}}],"first_step":'
    '"Assign an active bot to the routing of client ","widespread":false,"part_of":null,"acknowledged":null,'
    '"acknowledgement_ended":null,"actions":[{"code":"NO_BOT","label":"Assign an active bot","numbers":1}],'
    '"labels":{},"url":"https:///alerts/","runbook_url":"https:///runbooks/drift"}'
)
_DICTIONARY = zstandard.ZstdCompressionDict(_TYPICAL.encode(), dict_type=zstandard.DICT_TYPE_RAWCONTENT)


class _Tools(threading.local):
    """What packs and unpacks; a thread must not use another one's."""

    def __init__(self) -> None:
        self.packer = zstandard.ZstdCompressor(level=_LEVEL, dict_data=_DICTIONARY)
        self.unpacker = zstandard.ZstdDecompressor(dict_data=_DICTIONARY)


_TOOLS = _Tools()


def pack(body: bytes) -> bytes:
    """Return an alert body as it is stored."""
    return _TOOLS.packer.compress(body)


def unpack(packed: bytes) -> bytes:
    """Return what `pack` was given."""
    return _TOOLS.unpacker.decompress(packed)
