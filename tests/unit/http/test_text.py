"""Text from outside, made fit."""

from hypothesis import given
from hypothesis import strategies as st

from monitor.http.text import clean, redact


@given(st.text(), st.integers(1, 50))
def test_line_is_short_printable_and_stays_one_line(text: str, limit: int) -> None:
    """The result fits, prints, has no blank ends, and cleaning it again changes nothing."""
    cleaned = clean(text, limit)
    assert len(cleaned) <= limit
    assert cleaned.isprintable()
    assert cleaned == cleaned.strip() == clean(cleaned, limit)


def test_redacted_text_holds_neither_keys_nor_numbers() -> None:
    """What the other side says is shown without what must not be."""
    text = "key rg_live_abc123 of +91 80112 23344, 918011223344, Bearer xyz, code 409"
    said = redact(text, 200)
    assert said == "key *** of ***, ***, *** code 409"


def test_redacted_text_keeps_what_is_no_phone_number() -> None:
    """Addresses, counts and codes help whoever reads the log."""
    text = "line 17, 3 errors from 10.0.0.1 (code 400)"
    assert redact(text, 200) == text


@given(st.text(), st.integers(5, 50))
def test_redacted_text_is_short_and_printable(text: str, limit: int) -> None:
    """Whatever comes fits into a line."""
    said = redact(text, limit)
    assert len(said) <= limit
    assert said.isprintable()
