"""Puts what numbers depend on into words, by name where the answer gives one: `client Acme Sales (415)`.

Names come as `common_names` of an alert body (by field) or as a snapshot's (`client:415`); here they go by
word and id, as in a snapshot.
"""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TypeAlias

Value: TypeAlias = bool | int | str | None

NO_NAMES: Mapping[str, str] = MappingProxyType({})

WORDS = {"client_id": "client", "bot_id": "bot", "routing_target": "routing", "agent_id": "agent"}
"""The dependencies that members of an alert may share, by field; the order is that of a sentence."""
_CALLS = {"inbound", "outbound"}
_SWITCHES = {"bot_active": "bot", "routing_active": "routing", "number_active": "local number"}
_TARGETS = {"bot": "bot", "sip": "SIP trunk", "mobile": "a mobile number", "answer": "nothing but answering"}


def named(word: str, value: Value, names: Mapping[str, str] = NO_NAMES) -> str:
    """Return a dependency in words: `client Acme Sales (415)`, `bot 93`."""
    name = names.get(f"{word}:{value}")
    return f"{word} {name} ({value})" if name else f"{word} {value}"


def names_of(common: Mapping[str, int | str], common_names: Mapping[str, str]) -> dict[str, str]:
    """Return the names in an alert body by word and id."""
    return {
        f"{WORDS[field]}:{common[field]}": name
        for field, name in common_names.items()
        if field in WORDS and field in common
    }


def in_common(common: Mapping[str, int | str], names: Mapping[str, str] = NO_NAMES) -> str:
    """Return what all members share, in words: `client 415, bot 93 and agent 7`; empty if nothing."""
    return listed(_shared(common, names))


def _shared(common: Mapping[str, int | str], names: Mapping[str, str]) -> Iterator[str]:
    for field, word in WORDS.items():
        if field not in common:
            continue
        if field != "routing_target":
            yield named(word, common[field], names)
            continue
        sides = _sides(str(common[field]))
        if set(sides.values()) == {f"bot:{common.get('bot_id')}"}:
            continue  # a routing that leads to the bot they share says the same twice
        if sides.keys() <= _CALLS:
            ways = [f"{_destination(where, names)} ({side})" for side, where in sides.items()]
            yield f"routing to {listed(ways)}"
        else:
            yield named(word, str(common[field]).removeprefix("routing:"))


def listed(parts: Iterable[str]) -> str:
    """Return the parts as a sentence lists them: `a, b and c`."""
    found = [part for part in parts if part]
    return " and ".join(filter(None, [", ".join(found[:-1]), *found[-1:]]))


def moved(
    was: Mapping[str, Value],
    now: Mapping[str, Value],
    names: Mapping[str, str] = NO_NAMES,
    *,
    many: bool = False,
) -> str:
    """Return what a number has lost, gained or had switched off since; empty if nothing.

    Args:
        was: What it depended on, only what differs.
        now: The same fields as they are now.
        names: What the answer calls clients, bots and agents.
        many: Several numbers did so alike.
    """
    return listed(_moves(was, now, names, "their" if many else "its"))


def _moves(
    was: Mapping[str, Value], now: Mapping[str, Value], names: Mapping[str, str], its: str
) -> Iterator[str]:
    for field in ("client_id", "bot_id", "agent_id"):
        before, after = was.get(field), now.get(field)
        if before == after:
            continue
        word = WORDS[field]
        if after is None:
            yield f"lost {named(word, before, names)}"
        elif before is None:
            yield f"gained {named(word, after, names)}"
        else:
            yield f"moved from {named(word, before, names)} to {named(word, after, names)}"
    yield from _rerouted(was, now, names, its)
    for field, word in _SWITCHES.items():
        if field in now and was.get(field) != now[field] and now[field] is not None:
            yield f"had {its} {word} switched {'on' if now[field] else 'off'}"


def _rerouted(
    was: Mapping[str, Value], now: Mapping[str, Value], names: Mapping[str, str], its: str
) -> Iterator[str]:
    """Yield how calls are routed otherwise, except where that follows from the bot."""
    if was.get("routing_target") and now.get("routing_target") is None:
        yield f"lost {its} routing"
        return
    before, after = (_sides(str(side.get("routing_target") or "")) for side in (was, now))
    bots = (f"bot:{was.get('bot_id')}", f"bot:{now.get('bot_id')}")
    for side in dict.fromkeys([*before, *after]):
        old, new = before.get(side, ""), after.get(side, "")
        calls = f"{side} calls" if side in _CALLS else side
        if old == new or (old, new) == bots:
            continue
        if not new:
            yield f"lost the routing of {its} {calls} to {_destination(old, names)}"
        elif not old:
            yield f"had {its} {calls} routed to {_destination(new, names)}"
        else:
            yield f"had {its} {calls} rerouted from {_destination(old, names)} to {_destination(new, names)}"


def _sides(target: str) -> dict[str, str]:
    """Return a routing target by side: `{"inbound": "bot:93", "outbound": "sip:7"}`."""
    return {side: where for side, _, where in (part.partition(":") for part in target.split())}


def _destination(where: str, names: Mapping[str, str]) -> str:
    kind, _, value = where.partition(":")
    word = _TARGETS.get(kind, kind)
    return named(word, value, names) if value else word
