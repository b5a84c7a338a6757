"""Blobs come back as they were packed, whichever threads pack and unpack meanwhile."""

from concurrent.futures import ThreadPoolExecutor

from monitor.drift.policy import Records
from monitor.drift.snapshot import Snapshot
from monitor.store.codec import Codec
from tests.fakes.stored import number


def _records(first: int) -> Records:
    numbers = [number(str(key), f"ISSUE_{key % 7}") for key in range(first, first + 3_000)]
    return Records(snapshot=Snapshot(numbers={each.key: each for each in numbers}))


def test_codec_serves_several_threads() -> None:
    """Transactions are carried out in a thread while the event loop packs and unpacks."""
    codec, wanted = Codec(), [_records(10_000 * place) for place in range(8)]

    def there_and_back(records: Records) -> bool:
        return all(codec.unpack_records(codec.pack_records(records)) == records for _ in range(20))

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(there_and_back, wanted))
