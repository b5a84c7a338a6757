"""Rows as CSV: read back by programs as they were, and run by no spreadsheet."""

import csv
import io
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.store.export import csv_of, guarded

PHONE_NUMBER = "+918011223344"


def read(text: str) -> list[list[str]]:
    """Return the cells as Python reads them."""
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def test_values_have_one_form_each() -> None:
    """Texts are quoted, numbers are not, and what is absent is empty."""
    row = [
        *('a, "b"\nc', 12, 0.5, True, None, datetime(2026, 3, 1, 12, tzinfo=UTC)),
        *(["NO_BOT", "EXPIRED"], ({"code": "A", "label": "Assign a bot"}, {"code": "B", "label": ""}), []),
    ]
    assert csv_of([row]) == (
        '"a, ""b""\nc",12,0.5,"true","","2026-03-01T12:00:00.000Z","NO_BOT, EXPIRED","Assign a bot, B",""\r\n'
    )


def test_phone_number_survives_as_text() -> None:
    """Plus and all digits: quoted, so that what tells texts from numbers takes it for a text."""
    text = csv_of([[PHONE_NUMBER, "918011223344", 918011223344]])
    assert text == f'"{PHONE_NUMBER}","918011223344",918011223344\r\n'
    assert read(text)[0][0] == PHONE_NUMBER


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        '=HYPERLINK("http://evil.example","x")',
        "+cmd|' /C calc'!A0",
        "+91801122+cmd|' /C calc'!A0",
        "+91 80112 23344",
        "-2+3",
        "@SUM(A1)",
        "  =1",
        "\t=1",
        "\r=1",
        "\n",
        "＝1",  # noqa: RUF001 - the wide one is meant
    ],
)
def test_formula_is_kept_from_running(text: str) -> None:
    """It gets the apostrophe that spreadsheets take for the beginning of a text."""
    assert guarded(text) == f"'{text}"
    assert read(csv_of([[text], [[text, "x"]]])) == [[f"'{text}"], [f"'{text}, x"]]


@given(
    st.lists(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1, max_size=4))
)
def test_texts_survive(rows: list[list[str]]) -> None:
    """Whatever they hold: all that is added is the guard, and no first character runs."""
    cells = read(csv_of(rows))
    assert [[cell.removeprefix("'") for cell in row] for row in cells] == [
        [text.removeprefix("'") for text in row] for row in rows
    ]
    assert not [
        cell
        for row in cells
        for cell in row
        if cell.lstrip()[:1] in set("=+-@") and not (cell[1:].isascii() and cell[1:].isdigit())
    ]
