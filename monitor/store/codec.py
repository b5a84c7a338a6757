"""The encoding of blobs: msgpack, compressed where they are large."""

import threading
from typing import TypeVar

import msgspec
import zstandard

from monitor.drift.episodes import Track
from monitor.drift.failures import FailureRecords
from monitor.drift.policy import Records
from monitor.drift.snapshot import Counts, Number
from monitor.store.packing import pack, unpack

T = TypeVar("T")

_LEVEL = 1
"""Of zstandard: a snapshot is written at every change, and higher levels cost more than they save."""


class _Tracks(msgspec.Struct, array_like=True):
    """The records of a connection, decoding the tracks only."""

    snapshot: msgspec.Raw = msgspec.Raw()
    hold: msgspec.Raw = msgspec.Raw()
    tracks: dict[str, Track] = {}


class _Numbers(msgspec.Struct, array_like=True):
    """A snapshot whose numbers are separated but not decoded."""

    numbers: dict[str, msgspec.Raw] = {}


class _Snapshot(msgspec.Struct, array_like=True):
    """The records of a connection, decoding the snapshot only."""

    snapshot: _Numbers | None = None


class _Zstandard(threading.local):
    """What compresses; a thread must not use another one's."""

    def __init__(self) -> None:
        self.compress = zstandard.ZstdCompressor(level=_LEVEL).compress
        self.decompress = zstandard.ZstdDecompressor().decompress


class Codec:
    """Encodes and decodes all blobs of the store, in any thread."""

    def __init__(self) -> None:
        self._pack = msgspec.msgpack.Encoder()
        self._records = msgspec.msgpack.Decoder(Records)
        self._tracks = msgspec.msgpack.Decoder(_Tracks)
        self._snapshot = msgspec.msgpack.Decoder(_Snapshot)
        self._number = msgspec.msgpack.Decoder(Number)
        self._failures = msgspec.msgpack.Decoder(FailureRecords)
        self._track = msgspec.msgpack.Decoder(Track)
        self._counts = msgspec.msgpack.Decoder(Counts)
        self._zstandard = _Zstandard()

    def compress(self, value: msgspec.Struct) -> bytes:
        """Return a value, compressed."""
        return self._zstandard.compress(self._pack.encode(value))

    def expand(self, blob: bytes, decoder: msgspec.msgpack.Decoder[T]) -> T:
        """Return what `compress` was given."""
        return decoder.decode(self._zstandard.decompress(blob))

    def pack_records(self, records: Records) -> bytes:
        """Return a connection's records, compressed."""
        return self.compress(records)

    def unpack_records(self, blob: bytes) -> Records:
        """Return what `pack_records` was given."""
        return self.expand(blob, self._records)

    def unpack_tracks(self, blob: bytes) -> dict[str, Track]:
        """Return only the tracks of what `pack_records` was given: much cheaper than all of it."""
        return self.expand(blob, self._tracks).tracks

    def unpack_numbers(self, blob: bytes) -> dict[str, msgspec.Raw]:
        """Return the numbers of what `pack_records` was given, by key; `unpack_number` reads one.

        10,000 numbers take 6 ms instead of 15 ms with `unpack_records`, and a page needs few of them.
        """
        snapshot = self.expand(blob, self._snapshot).snapshot
        return snapshot.numbers if snapshot is not None else {}

    def unpack_number(self, raw: msgspec.Raw) -> Number:
        """Return one of the numbers of `unpack_numbers`."""
        return self._number.decode(raw)

    def pack_failures(self, records: FailureRecords) -> bytes:
        """Return the records of failures, compressed."""
        return self.compress(records)

    def unpack_failures(self, blob: bytes) -> FailureRecords:
        """Return what `pack_failures` was given."""
        return self.expand(blob, self._failures)

    def pack(self, value: msgspec.Struct) -> bytes:
        """Return a small value, compressed with a dictionary of what most of them say."""
        return pack(self._pack.encode(value))

    def unpack(self, blob: bytes, decoder: msgspec.msgpack.Decoder[T]) -> T:
        """Return what `pack` was given."""
        return decoder.decode(unpack(blob))

    def pack_track(self, track: Track) -> bytes:
        """Return a track as the row of its episode has it: without the ids that stand beside it."""
        return self.pack(_with_ids(track, "", ""))

    def unpack_track(self, blob: bytes, episode_id: str, alert_id: str) -> Track:
        """Return the track that `pack_track` was given, with its ids."""
        return _with_ids(self.unpack(blob, self._track), episode_id, alert_id)

    def pack_counts(self, counts: Counts) -> bytes:
        """Return counts, uncompressed: they are read often."""
        return self._pack.encode(counts)

    def unpack_counts(self, blob: bytes) -> Counts:
        """Return what `pack_counts` was given."""
        return self._counts.decode(blob)


def _with_ids(track: Track, episode_id: str, alert_id: str) -> Track:
    if track.episode is None:
        return track
    episode = msgspec.structs.replace(track.episode, id=episode_id, alert_id=alert_id)
    return msgspec.structs.replace(track, episode=episode)
