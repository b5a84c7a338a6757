"""An answer as what it says beyond a snapshot."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from monitor.drift.answers import Difference, answer_of, difference
from monitor.drift.snapshot import Missing, Number, Snapshot
from tests.unit.drift.build import START, answer, broken, fleet, ready

_NUMBERS = st.dictionaries(st.integers(0, 9), st.sampled_from(("ready", "NO_BOT", "EXPIRED")), max_size=8)
_NAMES = st.dictionaries(st.sampled_from(("client:1", "bot:2", "agent:3")), st.text(max_size=3))


def _number(index: int, state: str) -> Number:
    return ready(index) if state == "ready" else broken(index, state)


@st.composite
def _snapshots(draw: st.DrawFn) -> Snapshot:
    numbers = [_number(index, state) for index, state in draw(_NUMBERS).items()]
    return Snapshot(
        numbers={number.key: number for number in numbers},
        inventory=draw(st.dictionaries(st.sampled_from(("bots", "dids")), st.integers(0, 9))),
        warnings=tuple(draw(st.lists(st.text(max_size=3), max_size=2))),
        skipped=draw(st.integers(0, 2)),
        unknown={number.key: Missing(1, START) for number in numbers[: draw(st.integers(0, 1))]},
        names=draw(_NAMES),
    )


@given(st.none() | _snapshots(), _snapshots())
def test_answer_is_put_together_again(before: Snapshot | None, after: Snapshot) -> None:
    """From what it says beyond any snapshot, through the encoding of the journal, comes the answer."""
    said = msgspec.msgpack.decode(msgspec.msgpack.encode(difference(before, after)), type=Difference)
    assert answer_of(before, said) == after


def test_difference_holds_what_changed_only() -> None:
    """One of a thousand numbers is one number."""
    before = answer(*fleet(1000))
    after = msgspec.structs.replace(before, numbers=before.numbers | {broken(7).key: broken(7)})
    said = difference(before, after)
    assert list(said.numbers.values()) == [broken(7)]
    assert not said.gone
