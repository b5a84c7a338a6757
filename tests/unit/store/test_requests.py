"""Which numbers a user means to accept."""

import pytest

from monitor.drift.alert import Kind
from monitor.errors import UnknownName
from monitor.store.requests import Acceptable, chosen

FOUND = [
    Acceptable(key="918011", phone_number="+918011", kind=Kind.NUMBER_REMOVED),
    Acceptable(key="918022", phone_number="+918022", kind=Kind.RECONFIGURED),
]


@pytest.mark.parametrize(
    ("numbers", "keys"),
    [
        pytest.param(None, ["918011", "918022"], id="all"),
        pytest.param(["+91 80-22"], ["918022"], id="any form"),
        pytest.param(["918022", "+918022", "(91) 8011"], ["918011", "918022"], id="twice"),
    ],
)
def test_chosen_are_the_numbers_in_any_form(numbers: list[str] | None, keys: list[str]) -> None:
    """A number is known by its digits, however it is written."""
    assert [row.key for row in chosen(FOUND, numbers)] == keys


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        pytest.param(["+918033"], "one of these numbers was neither", id="one"),
        pytest.param(["+918033", "918022", "918044"], "2 of these numbers were neither", id="two"),
    ],
)
def test_chosen_refuses_what_is_not_acceptable(numbers: list[str], words: str) -> None:
    """A number that is unknown is an error that counts, and accepts nothing."""
    with pytest.raises(UnknownName, match=words):
        chosen(FOUND, numbers)
