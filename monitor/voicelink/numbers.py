"""Entries of one answer, gathered into numbers. Pure.

1. `drift` is gathered first, then `readiness`, so that each number is built once.
2. An entry without digits in `key` or `phone_number` cannot be read: it is counted, not guessed.
3. A key that comes twice is one number: any "drifting" wins, issues are united. The order of the entries
   does not matter, and however often a key comes, each entry costs the same.
4. What only `drift` lists is a drifting number too.

An answer has thousands of numbers and few words, clients, bots: what is derived from those is remembered
for as long as the answer is read, and shared between the numbers.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from monitor.drift.snapshot import EXPIRED, ActionItem, Dependencies, Number
from monitor.http.text import clean
from monitor.voicelink.text import LABEL_LIMIT, NAME_LIMIT, clean_id, is_active, is_true
from monitor.voicelink.wire import (
    Said,
    Text,
    WireBot,
    WireDid,
    WireDrift,
    WireLocalNumber,
    WireReadiness,
    WireRouting,
)

UNKNOWN = "UNKNOWN"
"""The state of a number for which the answer gives none, and an issue without a code."""

_KEY_LIMIT = 32
_NOT_DIGIT = re.compile(r"[^0-9]")
_MOBILE, _SIP, _BOT, _ONLY_ANSWER = 1, 2, 3, 4
_ROUTED_TO: dict[int | str, str] = {_MOBILE: "mobile", _SIP: "sip", _BOT: "bot", _ONLY_ANSWER: "answer"}
"""`for_inbound_call` and `for_outbound_call`: they use the same numbers for the same targets."""


_DRIFT_ONLY = tuple(name for name in Dependencies.__struct_fields__ if name not in ("client_id", "unknown"))

_PartT = TypeVar("_PartT")
_Part: TypeAlias = _PartT | UnsetType | None
_Target = tuple[str, tuple[str, ...]]


class Gathering:
    """Numbers of one answer; `skipped` counts the entries that cannot be read."""

    def __init__(self) -> None:
        self.skipped = 0
        self._drift = _Entries()
        self._readiness = _Entries()
        self._words: dict[str, str] = {}
        self._targets: dict[tuple[Said, ...], _Target] = {}
        self._refs: dict[tuple[object, ...], Dependencies] = {}
        self._owners: dict[Said, Dependencies] = {}
        self._names: dict[str, str] = {}

    def add_drift(self, entries: Iterable[WireDrift]) -> int:
        """Take entries of `drift`; return how many have a key. All of them come before `readiness`."""
        taken = 0
        for entry in entries:
            key = _key(entry)
            if key:
                taken += 1
                self._drift.add(self._drifting(key, entry))
            else:
                self.skipped += 1
        return taken

    def add_readiness(self, entries: Iterable[WireReadiness]) -> int:
        """Take entries of `readiness`; return how many have a key."""
        taken = 0
        for entry in entries:
            key = _key(entry)
            if not key:
                self.skipped += 1
                continue
            taken += 1
            self._readiness.add(self._number(key, entry))
        return taken

    def names(self, listed: Mapping[str, str]) -> dict[str, str]:
        """Return what clients, bots and agents of the numbers are called, by keys like `client:415`."""
        used = {key for refs in (*self._refs.values(), *self._owners.values()) for key in refs.name_keys}
        return {key: name for key, name in sorted((self._names | dict(listed)).items()) if key in used}

    def keys(self) -> list[str]:
        """Return the keys of all numbers, to be finished once every entry is taken."""
        return list(self._readiness.first | self._drift.first)

    def finish(self, keys: Iterable[str]) -> dict[str, Number]:
        """Return the numbers of these keys, with all that was said of them."""
        drift, ready, again = self._drift.first, self._readiness.first, self._readiness.several
        return {key: self._finished(key) if key in drift or key in again else ready[key] for key in keys}

    def _finished(self, key: str) -> Number:
        if key not in self._drift.first:
            return self._readiness.united(key)
        listed = self._drift.united(key)
        if key not in self._readiness.first:
            return listed
        number = self._readiness.united(key)
        # What `drift` says fills what readiness left open.
        items = number.action_items or listed.action_items
        return msgspec.structs.replace(_united([number, listed]), drifting=True, action_items=items)

    def _drifting(self, key: str, entry: WireDrift) -> Number:
        state = clean(entry.state or "", NAME_LIMIT) or UNKNOWN
        label = clean(entry.action or "", LABEL_LIMIT)
        refs = self._owners.get(entry.client_id)
        if refs is None:
            unknown = ("client_id", *_DRIFT_ONLY) if entry.client_id is UNSET else _DRIFT_ONLY
            refs = Dependencies(client_id=clean_id(entry.client_id), unknown=unknown)
            self._owners[entry.client_id] = refs
        return Number(
            key=key,
            phone_number=clean(entry.phone_number or "", NAME_LIMIT) or f"+{key}",
            state=state,
            drifting=True,
            action_items=(ActionItem(state, label),) if label else (),
            did_id=clean_id(entry.did_id),
            dependencies=refs,
        )

    def _number(self, key: str, entry: WireReadiness) -> Number:
        """Return the number of a readiness entry, whatever `drift` says of it."""
        phone = entry.phone_number
        if phone != "+" + key:
            phone = clean(phone or "", NAME_LIMIT) or f"+{key}"
        issues = self._issues(entry.issues) if entry.issues else ()
        items = self._items(entry, issues) if entry.action_items or entry.actions else ()
        state = self._word(entry.state) if entry.state else ""
        drifting = bool(issues)
        did_id: int | str | None = None
        did = entry.remote_did
        if did is not None:
            did_id = did.did_id if type(did.did_id) is int else clean_id(did.did_id)
            if did.is_expired and not issues and key not in self._drift.first and is_true(did.is_expired):
                state, issues, drifting = EXPIRED, (EXPIRED,), True
        if not state:
            state = self._state_without(key, issues)
        return Number(key, phone, state, drifting, issues, items, did_id, self._refs_of(entry, did))

    def _state_without(self, key: str, issues: tuple[str, ...]) -> str:
        """Return the state of a readiness entry that names none."""
        state = self._drift.united(key).state if key in self._drift.first else UNKNOWN
        return state if state != UNKNOWN else next(iter(issues), UNKNOWN)

    def _word(self, text: str) -> str:
        known = self._words.get(text)
        if known is None:
            known = self._words[text] = clean(text, NAME_LIMIT)
        return known

    def _issues(self, codes: tuple[str, ...]) -> tuple[str, ...]:
        """Return the codes cleaned, each once; an issue stays one even if its code is blank."""
        if len(codes) == 1:
            return (self._word(codes[0]) or UNKNOWN,)
        return tuple(dict.fromkeys([self._word(code) or UNKNOWN for code in codes]))

    def _items(self, entry: WireReadiness, issues: tuple[str, ...]) -> tuple[ActionItem, ...]:
        if entry.action_items:
            pairs = [
                (self._word(item.code or ""), clean(item.label or "", LABEL_LIMIT))
                for item in entry.action_items
            ]
        else:
            labels = [clean(label, LABEL_LIMIT) for label in entry.actions or ()]
            pairs = list(zip_longest(issues[: len(labels)], labels, fillvalue=""))
        return tuple([ActionItem(code, label or code) for code, label in pairs if code or label])

    def _refs_of(self, entry: WireReadiness, did: WireDid | None) -> Dependencies:
        bot, local, routing = entry.bot, entry.local_phone_number, entry.routing
        client_id = did.client_id if did is not None else UNSET
        if bot and (client_id is UNSET or client_id is None) and bot.client_id is not UNSET:
            client_id = bot.client_id
        target, status = (self._target(routing), routing.status) if routing else (routing, None)
        said = (client_id, bot, target, status, local)
        refs = self._refs.get(said)
        if refs is None:
            refs = self._refs[said] = self._understood(client_id, bot, routing, local)
        return refs

    def _understood(
        self, client_id: Said, bot: _Part[WireBot], routing: _Part[WireRouting], local: _Part[WireLocalNumber]
    ) -> Dependencies:
        """Return what an entry says that a number depends on; remember what bot and agent are called."""
        bot_id = bot.id if bot else bot or None
        target, sides = self._target(routing) if routing else ("", ())
        agent_id = _agent_id(local) if local else local or None
        bot_active, routing_active, number_active = (
            is_active(part.status) if part else None for part in (bot, routing, local)
        )
        silent = {
            "client_id": client_id is UNSET,
            "bot_id": bot is UNSET or bot_id is UNSET,
            "routing_target": routing is UNSET,
            "agent_id": local is UNSET or agent_id is UNSET,
            "bot_active": bot is not None and bot_active is None,
            "routing_active": routing is not None and routing_active is None,
            "number_active": local is not None and number_active is None,
        }
        refs = Dependencies(
            client_id=clean_id(client_id),
            bot_id=clean_id(bot_id),
            routing_target=target or None,
            agent_id=clean_id(agent_id),
            bot_active=bot_active,
            routing_active=routing_active,
            number_active=number_active,
            unknown=(*(name for name, unknown in silent.items() if unknown), *sides),
        )
        self._name("bot", refs.bot_id, bot.bot_name if bot else None)
        self._name("agent", refs.agent_id, local.agent.name if local and local.agent else None)
        return refs

    def _name(self, kind: str, its_id: int | str | None, name: Text) -> None:
        """Remember what a bot or an agent is called; of several names the first by the alphabet."""
        cleaned = clean(name or "", NAME_LIMIT)
        if cleaned:
            key = f"{kind}:{its_id}"
            self._names[key] = min(cleaned, self._names.get(key, cleaned))

    def _target(self, routing: WireRouting) -> _Target:
        """Return where calls go, like `inbound:bot:93 outbound:sip:7`; else the routing's own id.

        Also the sides of which the answer does not say where they lead.
        """
        said = (
            routing.for_inbound_call,
            routing.inbound_websocket_bot_id,
            routing.inbound_sip_trunk_id,
            routing.for_outbound_call,
            routing.outbound_websocket_bot_id,
            routing.outbound_sip_trunk_id,
        )
        found = self._targets.get(said)
        if found is None:
            sides = {"inbound": _side(*said[:3]), "outbound": _side(*said[3:])}
            target = " ".join(f"{side}:{where}" for side, where in sides.items() if where)
            found = self._targets[said] = target, tuple(side for side in sides if sides[side] is None)
        if found[0]:
            return found
        routing_id = clean_id(routing.id)
        return "" if routing_id is None else f"routing:{routing_id}", found[1]


def _key(entry: WireReadiness | WireDrift) -> str:
    """Return the digits of `key`, else of `phone_number`; an empty string if there are none, or too many."""
    key = entry.key
    if key is None or not (key.isdecimal() and key.isascii()):
        key = _NOT_DIGIT.sub("", key or "") or _NOT_DIGIT.sub("", entry.phone_number or "")
    return key if len(key) <= _KEY_LIMIT else ""


def _agent_id(local: WireLocalNumber) -> Said:
    nested = local.agent.id if local.agent else local.agent
    said = (local.agent_id, local.vocobase_agent_id, local.camel_agent_id, nested)
    ids = [clean_id(agent_id) for agent_id in said if agent_id is not UNSET]
    return next((agent_id for agent_id in ids if agent_id is not None), None if ids else UNSET)


def _side(how: Said, bot: Said, trunk: Said) -> str | None:
    """Return where calls of one side go: `bot:93`; empty if nowhere, None if the answer does not say."""
    kind, targets = clean_id(how), {_BOT: clean_id(bot), _SIP: clean_id(trunk)}
    if kind is None:
        kind = next((each for each, target in targets.items() if target is not None), None)
    if kind is None:
        return None if how is UNSET and (bot is UNSET or trunk is UNSET) else ""
    if not isinstance(kind, int) or kind not in targets:
        return _ROUTED_TO.get(kind, str(kind).replace(" ", "_"))
    if targets[kind] is None:
        return None if (bot if kind == _BOT else trunk) is UNSET else ""
    return f"{_ROUTED_TO[kind]}:{str(targets[kind]).replace(' ', '_')}"


class _Entries:
    """Numbers as single entries describe them; what comes again for a key is put in order as it comes."""

    def __init__(self) -> None:
        self.first: dict[str, Number] = {}
        self.several: dict[str, dict[Number, tuple[bool, str]]] = {}
        self._all: dict[str, Number] = {}

    def add(self, number: Number) -> None:
        """Take one entry."""
        before = self.first.setdefault(number.key, number)
        if before is not number:
            several = self.several.setdefault(number.key, {})
            for each in (number,) if several else (before, number):
                several[each] = (not each.drifting, repr(each))

    def united(self, key: str) -> Number:
        """Return the one number that the entries of a key describe: drifting first, then by content."""
        several = self.several.get(key)
        if several is None:
            return self.first[key]
        if key not in self._all:
            self._all[key] = _united(sorted(several, key=several.__getitem__))
        return self._all[key]


def _united(ordered: Sequence[Number]) -> Number:
    """Return the first number, with what only later ones say."""
    dependencies = ordered[0].dependencies
    for number in ordered:
        dependencies = dependencies.or_else(number.dependencies)
    return msgspec.structs.replace(
        ordered[0],
        issues=tuple(dict.fromkeys(issue for number in ordered for issue in number.issues)),
        action_items=tuple(dict.fromkeys(item for number in ordered for item in number.action_items)),
        did_id=next((number.did_id for number in ordered if number.did_id is not None), None),
        dependencies=dependencies,
    )
