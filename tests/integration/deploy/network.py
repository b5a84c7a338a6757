"""Judges connections by a NetworkPolicy, as a cluster's network does."""

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who is at the other end: an address and, of a pod that selectors match, its namespace and labels."""

    address: str
    namespace: str | None = None
    labels: dict[str, str] = field(default_factory=dict)


def allows(rules: list[dict[str, Any]], peer: Peer, port: int | str, protocol: str = "TCP") -> bool:
    """Return whether one of a policy's rules lets a peer of this or another namespace through."""
    return any(
        any(_is(each, peer) for each in rule.get("to", rule.get("from", [{}])))
        and any(
            (each["port"], each.get("protocol", "TCP")) == (port, protocol) for each in rule.get("ports", [])
        )
        for rule in rules
    )


def _is(selector: dict[str, Any], peer: Peer) -> bool:
    if "ipBlock" in selector:
        block = selector["ipBlock"]
        inside = [ip_address(peer.address) in ip_network(each) for each in block.get("except", [])]
        return ip_address(peer.address) in ip_network(block["cidr"]) and not any(inside)
    if not selector:
        return True
    if peer.namespace is None:
        return False
    labels = {"kubernetes.io/metadata.name": peer.namespace}
    near = peer.namespace == "voicelink"
    there = _matches(selector["namespaceSelector"], labels) if "namespaceSelector" in selector else near
    return there and _matches(selector.get("podSelector", {}), peer.labels)


def _matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    assert all(each["operator"] == "In" for each in selector.get("matchExpressions", []))
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", [])
    )
