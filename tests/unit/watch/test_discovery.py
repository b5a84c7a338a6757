"""Names of discovered connections: safe and unique by construction, never refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config.values import name as valid_name
from monitor.watch.discovery import Listed, discover, unique_name
from tests.unit.drift.build import START

ID = "9b7f1c44-c87f-4f0c-9124-3c802a9c1a20"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Sales", "Sales"),
        ("a/b*[c]\n", "a-b-c-"),
        ("", ID),
        ("  ", ID),
        ("rg_live_0123456789abcdef", ID),
        ("our rg_live_0123456789abcdef", ID),
        ("x" * 300, "x" * 100),
    ],
    ids=["as it is", "unfit signs", "empty", "blank", "a key", "with a key in it", "long"],
)
def test_name_is_the_providers_where_that_serves(name: str, expected: str) -> None:
    """A key among the names would be shown everywhere: the id stands in for it."""
    assert unique_name(name, ID, set()) == expected


def test_names_differ_however_alike_the_ids_are() -> None:
    """Ids that begin alike must not collide, as they did after eight characters."""
    listed = [Listed(id=f"12345678-{each}", name="Sales") for each in range(20)]
    found = discover([], listed, taken={"Sales"}, now=START)
    assert len({one.name for one in found}) == len(listed)


@given(
    names=st.lists(st.text(max_size=120), min_size=1, max_size=8),
    ids=st.lists(st.text(min_size=1, max_size=40), min_size=8, max_size=8, unique=True),
    taken=st.sets(st.sampled_from(["Sales", "a", "-"])),
)
def test_every_name_is_one_that_a_config_may_hold(names: list[str], ids: list[str], taken: set[str]) -> None:
    """Whatever the provider lists: no name stops the discovery of an account, and none is there twice."""
    listed = [Listed(id=one_id, name=name) for one_id, name in zip(ids, names, strict=False)]
    found = [one.name for one in discover([], listed, taken=taken, now=START)]
    assert len(set(found) | taken) == len(found) + len(taken)
    assert [valid_name(name) for name in found] == found
