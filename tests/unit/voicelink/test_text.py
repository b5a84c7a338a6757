"""Values from outside, made fit."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.voicelink.text import clean, clean_id, is_true, redact


@given(st.text(), st.integers(1, 50))
def test_clean_text_is_short_printable_and_stays_clean(text: str, limit: int) -> None:
    """The result fits, prints, has no blank ends, and cleaning it again changes nothing."""
    cleaned = clean(text, limit)
    assert len(cleaned) <= limit
    assert cleaned.isprintable()
    assert cleaned == cleaned.strip() == clean(cleaned, limit)


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
    ],
)
def test_id_is_the_same_however_it_is_typed(value: Any, expected: int | str | None) -> None:
    """A type flip of the same id is not another id."""
    assert clean_id(value) == expected


@pytest.mark.parametrize(("value", "flag"), [(True, 1), ("true", 1), ("1", 1), (1, 1), (False, 0), ("no", 0)])
def test_flag_is_read_in_every_form(value: Any, flag: int) -> None:
    """A flag may be a boolean, a number or a word."""
    assert is_true(value) == bool(flag)


def test_redacted_text_holds_neither_keys_nor_numbers() -> None:
    """An error text of the provider is shown without what must not be."""
    text = "key odd-key-1 or rg_live_abc123 of +91 80112 23344, 918011223344, Bearer xyz, code 409"
    said = redact(text, 200, key="odd-key-1")
    assert said == "key *** or *** of ***, ***, *** code 409"
