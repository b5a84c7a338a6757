"""A sync's answer, read into a snapshot.

A small answer is read in one typed pass. One that is large, or in which something cannot be read, is read in
slices: first where each entry begins and ends, then the entries one by one, yielding to the event loop
between batches. Both give the same snapshot.
"""

import re
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from monitor.drift.snapshot import INVENTORY_KINDS, Number, Snapshot
from monitor.errors import DecodeError, SyncError
from monitor.http.text import clean
from monitor.voicelink.failure import UNREADABLE_JSON, decode_envelope
from monitor.voicelink.numbers import Gathering
from monitor.voicelink.repair import repair
from monitor.voicelink.text import NAME_LIMIT, WARNING_LIMIT, clean_any, clean_id
from monitor.voicelink.wire import WireAnswer, WireDrift, WireNamed, WireParts, WireReadiness

WHOLE_BYTES = 2 * 1024 * 1024
"""Up to this size (about 1,000 numbers) one typed pass holds the event loop for some 5 ms."""
BATCH = 200
"""Entries between two yields to the event loop: about 2 ms."""

_WHOLE = msgspec.json.Decoder(WireAnswer[WireReadiness, WireDrift, list[Raw]])
_PARTS = msgspec.json.Decoder(WireAnswer[Raw, Raw, Raw])
_DATA = msgspec.json.Decoder(dict[str, Raw])
_READINESS = msgspec.json.Decoder(WireReadiness)
_DRIFT = msgspec.json.Decoder(WireDrift)
_NAMED = msgspec.json.Decoder(WireNamed)
_ENTRIES = msgspec.json.Decoder(list[Raw])
_ANY = msgspec.json.Decoder()

_JSON_TYPES = {b'"': "string", b"{": "object", b"n": "null", b"t": "boolean", b"f": "boolean", b"[": "array"}

_NEEDED = ("readiness", "drift")
_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F]..)|.)", re.DOTALL)
"""One escape at a time, so that an escaped backslash begins none; the group is half a surrogate pair."""

Entry = TypeVar("Entry", WireReadiness, WireDrift)


@types.coroutine
def yield_to_loop() -> Generator[None]:
    """Let others run once."""
    yield


async def decode_sync(
    body: bytes,
    *,
    whole_bytes: int = WHOLE_BYTES,
    sleep0: Callable[[], Awaitable[None]] = yield_to_loop,
) -> Snapshot:
    """Return the snapshot that an answer holds; `unknown` stays empty.

    Args:
        body: The decompressed body of a 2xx answer.
        whole_bytes: Larger answers are read in slices.
        sleep0: Awaited between slices, to let others run.

    Raises:
        SyncError: The answer says `success: false`.
        DecodeError: It cannot be read; the path says where.
    """
    parts, notes = _read_parts(body, whole_bytes), []
    if parts is None:
        parts, notes = _read_parts(_readable(body), whole_bytes), ["unreadable characters were replaced"]
    if parts is None:
        raise _problem(body)
    into = Gathering()
    # Drift first: it says of a readiness entry whether its number drifts.
    drifting = ready = 0
    async for drift in _batches(parts.drift, _DRIFT, into, sleep0):
        drifting += into.add_drift(drift)
    async for readiness in _batches(parts.readiness, _READINESS, into, sleep0):
        ready += into.add_readiness(readiness)
    for name, taken in (("drift", drifting), ("readiness", ready)):
        listed = len(getattr(parts, name))
        if listed and not taken:
            raise DecodeError(f"data.{name}", f"none of {listed} entries can be read")
    entries = {name: _entries(getattr(parts, name)) for name in (*INVENTORY_KINDS, "warnings")}
    notes += [
        f"data.{name} is not an array, taken as empty" for name, found in entries.items() if found is None
    ]
    return Snapshot(
        numbers=await _finished(into, sleep0),
        names=into.names(
            await _names("client", entries["clients"] or (), sleep0)
            | await _names("bot", entries["bots"] or (), sleep0)
        ),
        inventory={kind: len(entries[kind] or ()) for kind in INVENTORY_KINDS},
        warnings=(*map(_warning, entries["warnings"] or ()), *notes),
        skipped=into.skipped,
    )


async def _finished(into: Gathering, sleep0: Callable[[], Awaitable[None]]) -> dict[str, Number]:
    numbers: dict[str, Number] = {}
    keys = into.keys()
    for start in range(0, len(keys), BATCH):
        if start:
            await sleep0()
        numbers |= into.finish(keys[start : start + BATCH])
    return numbers


async def _names(kind: str, entries: Sequence[Raw], sleep0: Callable[[], Awaitable[None]]) -> dict[str, str]:
    """Return what clients or bots are called, by keys like `client:415`."""
    names: dict[str, str] = {}
    for place, raw in enumerate(entries):
        if place and place % BATCH == 0:
            await sleep0()
        try:
            each = _NAMED.decode(raw)
        except UNREADABLE_JSON:
            continue
        parts = [clean_any(part, NAME_LIMIT) for part in (each.first_name, each.last_name)]
        name = clean_any(each.bot_name, NAME_LIMIT) or " ".join(filter(None, parts))
        name = clean(name or clean_any(each.name, NAME_LIMIT), NAME_LIMIT)
        if name:
            names[f"{kind}:{clean_id(each.id)}"] = name
    return names


def _entries(part: Raw | list[Raw]) -> list[Raw] | None:
    """Return the entries of a part that says nothing of a number; None if it is no array."""
    if isinstance(part, list):
        return part
    try:
        return _ENTRIES.decode(part)
    except UNREADABLE_JSON:
        return None


def _readable(body: bytes | Raw) -> bytes:
    """Return JSON with a replacement for each character that no text can hold.

    JSON may escape half of a surrogate pair (RFC 8259, section 8.2); one anywhere, even in a text that is not
    used, makes a whole answer unreadable.
    """
    escaped = _ESCAPE.sub(lambda found: b"\\ufffd" if found[1] else found[0], bytes(body))
    return escaped.decode(errors="replace").encode()


def _read_parts(body: bytes, whole_bytes: int) -> WireParts[Any, Any, Any] | None:
    """Return `data`, typed if the answer is small and as it should be, else with its entries unread."""
    for decoder in (_WHOLE, _PARTS) if len(body) <= whole_bytes else (_PARTS,):
        try:
            answer: WireAnswer[Any, Any, Any] = decoder.decode(body)
        except UNREADABLE_JSON:
            continue
        if answer.success is True:
            return answer.data
    return None


def _problem(body: bytes) -> SyncError:
    """Return the error that says where the answer cannot be read, in types and places, never values."""
    try:
        data = decode_envelope(body)
        parts = _DATA.decode(data) if data else {}
    except SyncError as exc:
        return exc
    except UNREADABLE_JSON as exc:
        found = _type_of(data)
        return DecodeError("data", str(exc) if found == "object" else f"expected an object, got {found}")
    if not data:
        return DecodeError("data", "missing")
    for name in _NEEDED:
        if name not in parts:
            return DecodeError(f"data.{name}", "missing")
        if (found := _type_of(parts[name])) != "array":
            return DecodeError(f"data.{name}", f"expected an array, got {found}")
    return DecodeError("data", "it cannot be read")


def _type_of(raw: Raw) -> str:
    return _JSON_TYPES.get(bytes(raw).lstrip()[:1], "number")


async def _batches(
    entries: list[Entry] | list[Raw],
    decoder: msgspec.json.Decoder[Entry],
    into: Gathering,
    sleep0: Callable[[], Awaitable[None]],
) -> AsyncIterator[list[Entry]]:
    """Give the readable entries in batches, letting others run between; count the unreadable."""
    for start in range(0, len(entries), BATCH):
        if start:
            await sleep0()
        batch: list[Entry] = []
        for entry in entries[start : start + BATCH]:
            if not isinstance(entry, Raw):
                batch.append(entry)
                continue
            try:
                batch.append(_read_entry(entry, decoder))
            except UNREADABLE_JSON:
                into.skipped += 1
        yield batch


def _read_entry(raw: Raw, decoder: msgspec.json.Decoder[Entry]) -> Entry:
    try:
        return decoder.decode(raw)
    except UNREADABLE_JSON:
        return repair(_ANY.decode(_readable(raw)), decoder.type)


def _warning(raw: Raw) -> str:
    """Return a warning as text: a string as it is, an object by its code and message, else its JSON."""
    try:
        value = _ANY.decode(raw)
    except UNREADABLE_JSON:
        value = bytes(raw).decode("utf-8", "replace")
    if isinstance(value, str):
        return clean(value, WARNING_LIMIT)
    if isinstance(value, dict):
        said = [clean_any(value.get(name), WARNING_LIMIT) for name in ("code", "message")]
        if any(said):
            return clean(": ".join(filter(None, said)), WARNING_LIMIT)
    return clean(bytes(raw).decode("utf-8", "replace"), WARNING_LIMIT)
