"""How values become blobs: msgpack, compressed where they are large."""

import msgspec
import zstandard

from monitor.drift.episodes import Track
from monitor.drift.failures import FailureRecords
from monitor.drift.policy import Records
from monitor.drift.snapshot import Counts, Number

_LEVEL = 1
"""Of zstandard: a snapshot is written at every change; higher levels cost more than they save."""
_REMEMBERED = 16
_REMEMBERED_NUMBERS = 2_000
"""A connection that changes is looked at again soon: the last records that were packed are kept as they were,
found by the very blob that comes back. A thousand numbers take half a megabyte."""


class _Tracks(msgspec.Struct, array_like=True):
    """The records of a connection, of which only the tracks are read; the numbers are passed over."""

    snapshot: msgspec.Raw = msgspec.Raw()
    hold: msgspec.Raw = msgspec.Raw()
    tracks: dict[str, Track] = {}


class _Numbers(msgspec.Struct, array_like=True):
    """A snapshot, of which the numbers are told apart but not read."""

    numbers: dict[str, msgspec.Raw] = {}


class _Snapshot(msgspec.Struct, array_like=True):
    """The records of a connection, of which only the snapshot is looked at."""

    snapshot: _Numbers | None = None


class Codec:
    """Encodes and decodes everything the store keeps as blobs. Not for use from several threads."""

    def __init__(self) -> None:
        self._pack = msgspec.msgpack.Encoder()
        self._records = msgspec.msgpack.Decoder(Records)
        self._tracks = msgspec.msgpack.Decoder(_Tracks)
        self._snapshot = msgspec.msgpack.Decoder(_Snapshot)
        self._number = msgspec.msgpack.Decoder(Number)
        self._fleet = msgspec.msgpack.Decoder(FailureRecords)
        self._track = msgspec.msgpack.Decoder(Track)
        self._counts = msgspec.msgpack.Decoder(Counts)
        self._recent: dict[bytes, Records] = {}
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL)
        self._decompressor = zstandard.ZstdDecompressor()

    def pack_records(self, records: Records) -> bytes:
        """Return a connection's records, compressed."""
        blob = self._compressor.compress(self._pack.encode(records))
        if records.snapshot is not None and len(records.snapshot.numbers) <= _REMEMBERED_NUMBERS:
            self._recent[blob] = records
            if len(self._recent) > _REMEMBERED:
                del self._recent[next(iter(self._recent))]
        return blob

    def unpack_records(self, blob: bytes) -> Records:
        """Return what `pack_records` was given."""
        known = self._recent.pop(blob, None)
        return known or self._records.decode(self._decompressor.decompress(blob))

    def unpack_tracks(self, blob: bytes) -> dict[str, Track]:
        """Return the tracks alone of what `pack_records` was given: much cheaper than all of it."""
        return self._tracks.decode(self._decompressor.decompress(blob)).tracks

    def unpack_numbers(self, blob: bytes) -> dict[str, msgspec.Raw]:
        """Return the numbers of what `pack_records` was given, by key; `unpack_number` reads one.

        10,000 take 6 ms, all that `unpack_records` reads of them 15 ms: a page needs few.
        """
        snapshot = self._snapshot.decode(self._decompressor.decompress(blob)).snapshot
        return snapshot.numbers if snapshot is not None else {}

    def unpack_number(self, raw: msgspec.Raw) -> Number:
        """Return one of the numbers of `unpack_numbers`."""
        return self._number.decode(raw)

    def pack_fleet(self, records: FailureRecords) -> bytes:
        """Return the records of failures, compressed."""
        return self._compressor.compress(self._pack.encode(records))

    def unpack_fleet(self, blob: bytes) -> FailureRecords:
        """Return what `pack_fleet` was given."""
        return self._fleet.decode(self._decompressor.decompress(blob))

    def pack(self, value: Track | Counts) -> bytes:
        """Return a small value, uncompressed."""
        return self._pack.encode(value)

    def unpack_track(self, blob: bytes) -> Track:
        """Return the track that `pack` was given."""
        return self._track.decode(blob)

    def unpack_counts(self, blob: bytes) -> Counts:
        """Return the counts that `pack` was given."""
        return self._counts.decode(blob)
