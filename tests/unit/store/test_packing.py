"""How alert bodies, tracks and entries of the journal are packed for the store."""

from concurrent.futures import ThreadPoolExecutor

import xxhash

from monitor.drift.alert import encode_body
from monitor.store import packing
from monitor.store.packing import pack, unpack
from tests.fakes.alerts import BODY


def test_body_of_one_number_takes_a_fifth_of_its_bytes() -> None:
    """It is kept for the alert, and for each message until that is delivered."""
    body = encode_body(BODY)
    assert unpack(pack(body)) == body
    assert 5 * len(pack(body)) < len(body)


def test_dictionary_stays_as_it_is() -> None:
    """With another one, nothing that is stored could be read."""
    assert xxhash.xxh3_64_hexdigest(packing._DICTIONARY.as_bytes()) == "b504c7cf98a2d7be"
    assert (
        unpack(bytes.fromhex("28b52ffd20206d00001861317d0200d56504c73b7210"))
        == b'{"alert_id":"a1","kind":"drift"}'
    )


def test_threads_pack_and_unpack_at_the_same_time() -> None:
    """The writer and the readers of a database each have a thread of their own."""
    bodies = [encode_body(BODY) + b" " * each for each in range(200)]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda body: unpack(pack(body)), bodies)) == bodies
