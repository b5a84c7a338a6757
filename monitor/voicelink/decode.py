"""A sync's answer, read into a snapshot.

A small answer is read in one typed pass. One that is large, or in which something cannot be read, is read in
slices: first where each entry begins and ends, then the entries one by one, yielding to the event loop
between batches. Both give the same snapshot.
"""

import types
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import NoReturn, TypeVar

import msgspec
from msgspec import Raw

from monitor.drift.snapshot import INVENTORY_KINDS, Snapshot
from monitor.errors import DecodeError
from monitor.http.text import clean
from monitor.voicelink.failure import UNREADABLE_JSON, unsuccessful
from monitor.voicelink.numbers import Gathering
from monitor.voicelink.repair import repair
from monitor.voicelink.text import WARNING_LIMIT, clean_any
from monitor.voicelink.wire import (
    ARRAYS,
    Outline,
    PartsAnswer,
    Whole,
    WholeAnswer,
    WireDrift,
    WireParts,
    WireReadiness,
)

WHOLE_BYTES = 2 * 1024 * 1024
"""Up to this size (about 1,000 numbers) one typed pass holds the event loop for some 5 ms."""
BATCH = 200
"""Entries between two yields to the event loop: about 2 ms."""

_WHOLE = msgspec.json.Decoder(WholeAnswer)
_PARTS = msgspec.json.Decoder(PartsAnswer)
_OUTLINE = msgspec.json.Decoder(Outline)
_DATA = msgspec.json.Decoder(dict[str, Raw])
_READINESS = msgspec.json.Decoder(WireReadiness)
_DRIFT = msgspec.json.Decoder(WireDrift)
_ANY = msgspec.json.Decoder()

_JSON_TYPES = {b'"': "string", b"{": "object", b"n": "null", b"t": "boolean", b"f": "boolean"}

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
    whole = _read_whole(body) if len(body) <= whole_bytes else None
    parts = whole or _read_parts(body)
    into = Gathering()
    # Drift first: it says of a readiness entry whether its number drifts.
    taken = 0
    async for drift in _batches(parts.drift, _read_drift, into, sleep0):
        taken += into.add_drift(drift)
    _expect_some(taken, len(parts.drift), "data.drift")
    taken = 0
    async for readiness in _batches(parts.readiness, _read_readiness, into, sleep0):
        taken += into.add_readiness(readiness)
    _expect_some(taken, len(parts.readiness), "data.readiness")
    return Snapshot(
        numbers=into.numbers(),
        inventory={kind: len(getattr(parts, kind)) for kind in INVENTORY_KINDS},
        warnings=tuple(map(_warning, parts.warnings)),
        skipped=into.skipped,
    )


def _read_whole(body: bytes) -> Whole | None:
    """Return the typed parts, or None if the answer has to be read with more care."""
    try:
        answer = _WHOLE.decode(body)
    except UNREADABLE_JSON:
        return None
    return answer.data if answer.success is True else None


def _read_parts(body: bytes) -> WireParts:
    try:
        answer = _PARTS.decode(body)
    except UNREADABLE_JSON as exc:
        _explain(body, exc)
    if answer.success is not True:
        _explain(body, None)
    return answer.data


def _explain(body: bytes, cause: Exception | None) -> NoReturn:
    """Raise the error that says where the answer cannot be read.

    The causes' texts name types and places, never values.
    """
    try:
        outline = _OUTLINE.decode(body)
    except UNREADABLE_JSON as exc:
        raise DecodeError("$", str(exc)) from exc
    if outline.success is False:
        raise unsuccessful(outline.error)
    if outline.success is not True:
        raise DecodeError("success", "neither true nor false")
    _expect(outline.data, b"{", "data")
    try:
        parts = _DATA.decode(outline.data)
    except UNREADABLE_JSON as exc:
        raise DecodeError("data", str(exc)) from exc
    for name in ARRAYS:
        _expect(parts.get(name, Raw()), b"[", f"data.{name}")
    raise DecodeError("data", str(cause)) from cause


def _expect(raw: Raw, opening: bytes, path: str) -> None:
    """Raise unless the JSON at `path` is there and opens like the type we need."""
    first = bytes(raw).lstrip()[:1]
    if first == opening:
        return
    wanted = "an object" if opening == b"{" else "an array"
    found = _JSON_TYPES.get(first, "array" if first == b"[" else "number")
    raise DecodeError(path, f"expected {wanted}, got {found}" if first else "missing")


async def _batches(
    entries: list[Entry] | list[Raw],
    read: Callable[[Raw], Entry],
    into: Gathering,
    sleep0: Callable[[], Awaitable[None]],
) -> AsyncIterator[list[Entry]]:
    """Give the readable entries in batches, letting others run between; count the unreadable."""
    for start in range(0, len(entries), BATCH):
        if start:
            await sleep0()
        batch = entries[start : start + BATCH]
        # A list holds one kind: entries read with the whole answer, or raw ones.
        if isinstance(batch[0], Raw):
            yield _read_each(batch, read, into)
        else:
            yield batch


def _read_each(batch: list[Raw], read: Callable[[Raw], Entry], into: Gathering) -> list[Entry]:
    entries: list[Entry] = []
    for raw in batch:
        try:
            entries.append(read(raw))
        except UNREADABLE_JSON:
            into.skipped += 1
    return entries


def _read_drift(raw: Raw) -> WireDrift:
    try:
        return _DRIFT.decode(raw)
    except msgspec.ValidationError:
        return repair(_ANY.decode(raw), WireDrift)


def _read_readiness(raw: Raw) -> WireReadiness:
    try:
        return _READINESS.decode(raw)
    except msgspec.ValidationError:
        return repair(_ANY.decode(raw), WireReadiness)


def _expect_some(taken: int, listed: int, path: str) -> None:
    if listed and not taken:
        raise DecodeError(path, f"none of {listed} entries can be read")


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
