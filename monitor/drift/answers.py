"""What an answer says beyond the applied snapshot, to be kept and put together again (pure)."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from monitor.drift.snapshot import Number, Snapshot

Value = TypeVar("Value")

_NOTHING = Snapshot(numbers={})


class Difference(msgspec.Struct, frozen=True, array_like=True):
    """What an answer says beyond a snapshot.

    `numbers` came or are otherwise, `gone` are the keys of those that the answer lacks; `names` and `unnamed`
    likewise. `rest` is the answer without numbers and names.
    """

    rest: Snapshot
    numbers: dict[str, Number] = {}
    gone: tuple[str, ...] = ()
    names: dict[str, str] = {}
    unnamed: tuple[str, ...] = ()

    @property
    def keys(self) -> set[str]:
        """The keys of all numbers that are otherwise, or gone."""
        return {*self.numbers, *self.gone}


def difference(before: Snapshot | None, answer: Snapshot) -> Difference:
    """Return what an answer says beyond the snapshot before it, if there is one."""
    before = before or _NOTHING
    numbers, gone = _moved(before.numbers, answer.numbers)
    names, unnamed = _moved(before.names, answer.names)
    rest = msgspec.structs.replace(answer, numbers={}, names={})
    return Difference(rest=rest, numbers=numbers, gone=gone, names=names, unnamed=unnamed)


def answer_of(before: Snapshot | None, said: Difference) -> Snapshot:
    """Return the answer that says this beyond the snapshot before it."""
    before = before or _NOTHING
    return msgspec.structs.replace(
        said.rest,
        numbers=_with(before.numbers, said.numbers, said.gone),
        names=_with(before.names, said.names, said.unnamed),
    )


def _moved(
    before: Mapping[str, Value], after: Mapping[str, Value]
) -> tuple[dict[str, Value], tuple[str, ...]]:
    new = {key: value for key, value in after.items() if before.get(key) != value}
    return new, tuple(key for key in before if key not in after)


def _with(before: Mapping[str, Value], new: Mapping[str, Value], gone: tuple[str, ...]) -> dict[str, Value]:
    left = {**before, **new}
    for key in gone:
        del left[key]
    return left
