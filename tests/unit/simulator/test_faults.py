"""Faults: for whom, how long, and what they do to an answer's content."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.simulator.answer import render
from monitor.simulator.faults import CONTENT, Fault, FaultKind, Faults, alter
from monitor.simulator.shape import build_world


def data(numbers: int = 10) -> dict[str, Any]:
    """Return a sync's data, one number of it drifting."""
    connection = build_world(numbers=numbers).connection()
    next(iter(connection.edit().numbers.values())).agent_id = None
    return render(connection)


def altered(fault: Fault) -> dict[str, Any]:
    """Return the data as the fault leaves it."""
    return alter(data(), fault, random.Random(1))


def test_fault_for_some_requests_hits_exactly_so_many() -> None:
    """The count goes down with each request that it hits."""
    faults = Faults()
    faults.add(Fault(kind=FaultKind.DROP, requests=2))
    assert [len(faults.take("acme", None, 0.0)) for _ in range(3)] == [1, 1, 0]


@pytest.mark.parametrize(
    ("scope", "hit"),
    [
        pytest.param({}, [True, True, True], id="all"),
        pytest.param({"account": "acme"}, [True, True, False], id="account"),
        pytest.param({"connection_id": "c-1"}, [True, False, False], id="connection"),
    ],
)
def test_fault_hits_its_scope_alone(scope: dict[str, str], hit: list[bool]) -> None:
    """A fault of an account or a connection leaves the others alone."""
    faults = Faults()
    faults.add(Fault(kind=FaultKind.STATUS, **scope))  # type: ignore[arg-type]  # the scopes are texts
    requests = [("acme", "c-1"), ("acme", "c-2"), ("beta", "c-3")]
    assert [bool(faults.take(account, connection, 0.0)) for account, connection in requests] == hit


def test_clear_ends_one_scope_or_all() -> None:
    """Clearing a connection leaves the fault of everybody in force; clearing all ends it."""
    faults = Faults()
    faults.add(Fault(kind=FaultKind.STATUS))
    faults.add(Fault(kind=FaultKind.DROP, connection_id="c-1"))
    faults.clear(connection_id="c-1")
    assert [fault.kind for fault in faults] == [FaultKind.STATUS]
    faults.clear()
    assert list(faults) == []


def test_content_faults_are_taken_apart_from_the_others() -> None:
    """What an answer says and how it comes are counted separately."""
    faults = Faults()
    faults.add(Fault(kind=FaultKind.EMPTY, requests=1))
    faults.add(Fault(kind=FaultKind.DELAY, requests=1))
    assert [fault.kind for fault in faults.take("a", None, 0.0, content=True)] == [FaultKind.EMPTY]
    assert [fault.kind for fault in faults.take("a", None, 0.0)] == [FaultKind.DELAY]


@given(ratio=st.floats(0, 1))
def test_partial_keeps_the_parts_consistent(ratio: float) -> None:
    """The numbers that are left are the same in every part."""
    left = altered(Fault(kind=FaultKind.PARTIAL, ratio=ratio))
    keys = {entry["key"] for entry in left["readiness"]}
    assert len(keys) == round(10 * ratio)
    assert {entry["did_number"] for entry in left["dids"]} == keys
    assert {entry["phone_number"][1:] for entry in left["local_phone_numbers"]} == keys
    assert {entry["key"] for entry in left["drift"]} <= keys


def test_empty_keeps_every_part_as_an_empty_array() -> None:
    """The shape stays, the content goes."""
    assert altered(Fault(kind=FaultKind.EMPTY)) == {part: [] for part in data()}


def test_duplicate_says_everything_twice() -> None:
    """Each key is there two times."""
    assert len(altered(Fault(kind=FaultKind.DUPLICATE))["readiness"]) == 20


def test_unreadable_spoils_as_many_as_asked() -> None:
    """The first entries are nonsense, and drift[] does not give them away."""
    left = altered(Fault(kind=FaultKind.UNREADABLE, count=2))
    assert [entry["key"] is None for entry in left["readiness"]] == [True] * 2 + [False] * 8
    assert left["drift"] == []


def test_missing_takes_a_part_away() -> None:
    """The named part is not there at all."""
    assert "drift" not in altered(Fault(kind=FaultKind.MISSING, part="drift"))


def test_shuffle_says_the_same_in_another_order() -> None:
    """Nothing but the order differs."""
    left = altered(Fault(kind=FaultKind.SHUFFLE))["readiness"]
    assert left != data()["readiness"]
    assert sorted(left, key=str) == sorted(data()["readiness"], key=str)


@pytest.mark.parametrize("kind", sorted(CONTENT))
def test_every_content_fault_has_its_alteration(kind: FaultKind) -> None:
    """No kind of the content is left without effect."""
    assert altered(Fault(kind=kind)) != data()
