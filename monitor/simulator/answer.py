"""What the provider answers about an inventory: the readiness of each number, in the documented shape.

The rules, in the order of a number's issues (the order of the reference page's example):

- `NO_BOT`: its client has no active bot;
- `ROUTING_MISSING`: no call routing leads anywhere;
- `NO_VOCOBASE_AGENT`: the local phone number has no agent.

Its state is the first issue, else `READY`. An expired number stays `READY`, as does one whose routing or
local number is switched off, or whose inbound target is gone: the provider documents no state for these.
Real entries take about 1.9 kB a number, most of it in `raw`.
"""

from collections import OrderedDict
from typing import Any

import msgspec
import zstandard

from monitor.simulator.inventory import Inventory, Judged, SimulatedBot, SimulatedNumber
from monitor.simulator.world import SimulatedConnection

LABELS = {
    "NO_BOT": "Create an active VoiceLink WebSocket bot for the mapped client",
    "ROUTING_MISSING": "Create VoiceLink call routing for this DID",
    "NO_VOCOBASE_AGENT": "Assign a Vocobase agent to the local PhoneNumber row",
}

READY = "READY"

_WEBSOCKET_BOT = 3  # for_inbound_call and for_outbound_call: 3 is a WebSocket bot
_LISTED_NUMBERS = (
    100  # the list of connections is not an inventory; whether the provider cuts it is not documented
)
_RAW = {
    "country": "IN",
    "capabilities": {"voice": True, "sms": False, "fax": False},
    "billing": {"currency": "INR", "monthly_charge": "199.00"},
    "created_at": "2025-04-02T08:11:34.000000Z",
    "notes": "Imported from the carrier's batch; forwarded as it is, fields vary between carriers.",
}


def judge(number: SimulatedNumber, active_bots: dict[int, SimulatedBot]) -> Judged:
    """Return a number's state and issues; `active_bots` by the client's id."""
    if number.forced is not None:
        return number.forced
    checks = (
        ("NO_BOT", number.client_id not in active_bots),
        ("ROUTING_MISSING", not number.routed),
        ("NO_VOCOBASE_AGENT", number.agent_id is None),
    )
    issues = tuple(code for code, bad in checks if bad)
    return Judged(issues[0] if issues else READY, issues, bool(issues))


def render(connection: SimulatedConnection) -> dict[str, Any]:
    """Return the `data` of a sync: plain lists and dicts, new ones each time."""
    inventory = connection.view()
    active = inventory.active_bots()
    verdicts = [(number, judge(number, active)) for number in inventory.numbers.values()]
    return {
        "clients": [
            {"id": client, "first_name": "Client", "last_name": str(client), "status": 1}
            for client in inventory.clients
        ],
        "dids": [
            _did(each.did_id, each.key, each.client_id, "expired" if each.expired else "active", _raw(each))
            for each in inventory.numbers.values()
        ],
        "available_dids": [
            _did(900_000_000 + place, f"9199{place:08d}", None, "available", {"connection": connection.name})
            for place in range(inventory.available)
        ],
        "bots": [_bot(bot) for bot in inventory.bots.values()],
        "routing": [_routing(number) for number in inventory.numbers.values() if number.routed],
        "local_phone_numbers": [_local(number) for number in inventory.numbers.values()],
        "readiness": [_readiness(number, verdict, inventory, active) for number, verdict in verdicts],
        "drift": [_drift(number, verdict) for number, verdict in verdicts if verdict.listed],
        "warnings": list(connection.warnings),
    }


def describe(connection: SimulatedConnection) -> dict[str, Any]:
    """Return one element of the list of connections."""
    return {
        "id": connection.id,
        "connection_id": connection.id,
        "provider": connection.provider,
        "provider_key": connection.provider,
        "name": connection.name,
        "status": "ACTIVE" if connection.active else "INACTIVE",
        "is_default": connection.is_default,
        "phone_numbers": [{"phone_number": f"+{key}"} for key in connection.keys(_LISTED_NUMBERS)],
    }


def _raw(number: SimulatedNumber) -> dict[str, Any]:
    return {"did_id": number.did_id, "did_number": number.key, "client_id": number.client_id, **_RAW}


def _did(did_id: int, digits: str, client_id: int | None, status: str, raw: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": did_id,
        "did_id": did_id,
        "did_number": digits,
        "phone_number": f"+{digits}",
        "client_id": client_id,
        "status": status,
        "is_expired": status == "expired",
        "raw": raw,
    }


def _bot(bot: SimulatedBot) -> dict[str, Any]:
    return {
        "id": bot.id,
        "bot_name": f"Voice bot {bot.id}",
        "client_id": bot.client_id,
        "websocket_url": f"wss://agents.vocobase.com/voicelink/{bot.id}",
        "status": int(bot.active),
    }


def _routing(number: SimulatedNumber) -> dict[str, Any]:
    return {
        "id": number.did_id + 500_000_000,
        "did_id": number.did_id,
        "did_number": number.key,
        "for_inbound_call": _WEBSOCKET_BOT if number.inbound else None,
        "for_outbound_call": _WEBSOCKET_BOT,
        "inbound_websocket_bot_id": number.bot_id if number.inbound else None,
        "outbound_websocket_bot_id": number.bot_id,
        "inbound_sip_trunk_id": None,
        "outbound_sip_trunk_id": None,
        "status": int(number.routing_on),
    }


def _local(number: SimulatedNumber) -> dict[str, Any]:
    return {
        "id": f"pn_{number.did_id}",
        "phone_number": f"+{number.key}",
        "agent_id": number.agent_id,
        "status": "ACTIVE" if number.local_on else "INACTIVE",
    }


def _readiness(
    number: SimulatedNumber, verdict: Judged, inventory: Inventory, active: dict[int, SimulatedBot]
) -> dict[str, Any]:
    items = [{"code": code, "label": _label(code)} for code in verdict.issues]
    # The bot that routing leads to if it is active, else another active one of the client.
    bot = inventory.bots.get(number.bot_id)
    if bot is None or not bot.active:
        bot = active.get(number.client_id)
    return {
        "key": number.key,
        "phone_number": f"+{number.key}",
        "state": verdict.state,
        "issues": list(verdict.issues),
        "remote_did": {
            "did_id": number.did_id,
            "did_number": number.key,
            "phone_number": f"+{number.key}",
            "client_id": number.client_id,
            "is_expired": number.expired,
            "raw": _raw(number),
        },
        "local_phone_number": _local(number),
        "routing": _routing(number) if number.routed else None,
        "bot": _bot(bot) if bot is not None and number.client_id in active else None,
        "actions": [item["label"] for item in items],
        "action_items": items,
    }


def _drift(number: SimulatedNumber, verdict: Judged) -> dict[str, Any]:
    return {
        "key": number.key,
        "phone_number": f"+{number.key}",
        "state": verdict.state,
        "action": _label(verdict.issues[0]) if verdict.issues else f"Look into {verdict.state}",
        "did_id": number.did_id,
        "client_id": number.client_id,
    }


def _label(code: str) -> str:
    return LABELS.get(code, f"Resolve {code}")


def envelope(data: Any) -> bytes:
    """Return the body of a success."""
    return msgspec.json.encode({"success": True, "data": data})


class Bodies:
    """Remembers each connection's body while nothing changes: the same bytes, at the price of a lookup.

    Args:
        budget_bytes: How much is kept as it is; the least recently asked for beyond that is kept
            compressed (about 20:1), so that a thousand large connections fit into memory.
    """

    def __init__(self, budget_bytes: int = 256 * 1024 * 1024) -> None:
        self._budget_bytes = budget_bytes
        self._plain: OrderedDict[str, bytes] = OrderedDict()
        self._packed: dict[str, bytes] = {}
        self._stamps: dict[str, tuple[SimulatedConnection, int]] = {}
        self._held_bytes = 0

    def of(self, connection: SimulatedConnection) -> bytes:
        """Return the body of a sync of this connection as it is now."""
        key = connection.id
        if self._stamps.get(key) == (connection, connection.version):
            if key not in self._plain:
                return zstandard.ZstdDecompressor().decompress(self._packed[key])
            self._plain.move_to_end(key)
            return self._plain[key]
        self._held_bytes -= len(self._plain.pop(key, b""))
        self._packed.pop(key, None)
        body = envelope(render(connection))
        self._stamps[key] = (connection, connection.version)
        self._plain[key] = body
        self._held_bytes += len(body)
        while self._held_bytes > self._budget_bytes:
            oldest, packed = self._plain.popitem(last=False)
            self._held_bytes -= len(packed)
            self._packed[oldest] = zstandard.ZstdCompressor(level=1).compress(packed)
        return body
