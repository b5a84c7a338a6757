"""Values of the provider's, made fit."""

from typing import Any

import pytest

from monitor.voicelink.text import clean_id, is_true


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(812, 812, id="integer"),
        pytest.param("812", 812, id="digits"),
        pytest.param(812.0, 812, id="whole float"),
        pytest.param("007", "007", id="leading zeros mean something"),
        pytest.param(" ab-1 ", "ab-1", id="string"),
        pytest.param("", None, id="empty"),
        pytest.param(True, None, id="boolean"),
        pytest.param(1.5, None, id="fraction"),
        pytest.param([], None, id="list"),
        pytest.param(2**70, str(2**70), id="beyond 64 bits"),
        pytest.param("9" * 18, 10**18 - 1, id="most digits that surely fit"),
        pytest.param("9" * 19, "9" * 19, id="digits beyond 64 bits"),
    ],
)
def test_id_is_the_same_however_it_is_typed(value: Any, expected: int | str | None) -> None:
    """A type flip of the same id is not another id."""
    assert clean_id(value) == expected


@pytest.mark.parametrize(("value", "flag"), [(True, 1), ("true", 1), ("1", 1), (1, 1), (False, 0), ("no", 0)])
def test_flag_is_read_in_every_form(value: Any, flag: int) -> None:
    """A flag may be a boolean, a number or a word."""
    assert is_true(value) == bool(flag)
