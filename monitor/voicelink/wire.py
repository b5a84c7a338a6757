"""The answers as they come: msgspec structs with the fields we use, unknown ones skipped.

Typed the way the provider has been seen to write, for speed; an entry that is not is read by `repair`, with
patience. Structs are outside the garbage collector (`gc=False`): what JSON builds has no cycles. Those that
many numbers share are frozen, to be looked up by their content.
"""

from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

Id = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | str | None
"""Ids come as integers or strings; an integer beyond 64 bits fits no stored blob."""
Said = Id | UnsetType
"""An id that may be missing, which says nothing; `null` says that there is none."""
Text = str | None
Status = bool | int | float | str | None


class WireDid(Struct, gc=False):
    """`remote_did` of a readiness entry."""

    did_id: Id = None
    client_id: Said = UNSET
    is_expired: bool | int | str | None = None


class WireBot(Struct, frozen=True, gc=False):
    """`bot` of a readiness entry."""

    id: Said = UNSET
    client_id: Said = UNSET
    bot_name: Text = None
    status: Status = None


class WireRouting(Struct, gc=False):
    """`routing` of a readiness entry: where calls go."""

    id: Id = None
    for_inbound_call: Said = UNSET
    for_outbound_call: Said = UNSET
    inbound_websocket_bot_id: Said = UNSET
    outbound_websocket_bot_id: Said = UNSET
    inbound_sip_trunk_id: Said = UNSET
    outbound_sip_trunk_id: Said = UNSET
    status: Status = None


class WireAgent(Struct, frozen=True, gc=False):
    """The agent inside a local number, where it is an object."""

    id: Said = UNSET
    name: Text = None


class WireLocalNumber(Struct, frozen=True, gc=False):
    """`local_phone_number` of a readiness entry; the name of its agent id is not documented."""

    agent_id: Said = UNSET
    vocobase_agent_id: Said = UNSET
    camel_agent_id: Said = msgspec.field(default=UNSET, name="agentId")
    agent: WireAgent | UnsetType | None = UNSET
    status: Status = None


class WireNamed(Struct, gc=False):
    """A client, a bot or the like, as one of the other parts lists it."""

    id: Any = None
    first_name: Any = None
    last_name: Any = None
    bot_name: Any = None
    name: Any = None


class WireActionItem(Struct, gc=False):
    """One of `action_items`."""

    code: Text = None
    label: Text = None


class WireReadiness(Struct, gc=False):
    """One entry of `readiness`. `actions` counts only where `action_items` is missing."""

    key: Text = None
    phone_number: Text = None
    state: Text = None
    issues: tuple[str, ...] | None = None
    remote_did: WireDid | None = None
    local_phone_number: WireLocalNumber | UnsetType | None = UNSET
    routing: WireRouting | UnsetType | None = UNSET
    bot: WireBot | UnsetType | None = UNSET
    actions: tuple[str, ...] | None = None
    action_items: tuple[WireActionItem, ...] | None = None


class WireDrift(Struct, gc=False):
    """One entry of `drift`."""

    key: Text = None
    phone_number: Text = None
    state: Text = None
    action: Text = None
    did_id: Id = None
    client_id: Said = UNSET


ReadinessT = TypeVar("ReadinessT", WireReadiness, Raw)
DriftT = TypeVar("DriftT", WireDrift, Raw)
PartT = TypeVar("PartT", list[Raw], Raw)
_ABSENT: Any = Raw()


class WireParts(Struct, Generic[ReadinessT, DriftT, PartT], gc=False):
    """`data`: with its entries read, or `Raw`, to be read one by one; the other parts are only counted."""

    readiness: list[ReadinessT]
    drift: list[DriftT]
    clients: PartT = _ABSENT
    dids: PartT = _ABSENT
    available_dids: PartT = _ABSENT
    bots: PartT = _ABSENT
    routing: PartT = _ABSENT
    local_phone_numbers: PartT = _ABSENT
    warnings: PartT = _ABSENT


class WireAnswer(Struct, Generic[ReadinessT, DriftT, PartT], gc=False):
    """A sync's answer."""

    success: Any
    data: WireParts[ReadinessT, DriftT, PartT]


class Outline(Struct, gc=False):
    """The envelope of any answer."""

    success: Any = None
    error: Any = None
    data: Raw = Raw()


class WireConnection(Struct, gc=False):
    """One entry of the list of connections."""

    id: Any = None
    connection_id: Any = None
    provider: Any = None
    name: Any = None
    status: Any = None


class ConnectionList(Struct, gc=False):
    """`data` of the list of connections, where it is an object."""

    connections: list[WireConnection]
