"""Values as JSON says them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec
import pytest

from monitor.cli.terminal import plain


class Word(StrEnum):
    """A word."""

    YES = "yes"


class Pair(msgspec.Struct, frozen=True, array_like=True):
    """A struct that packs as an array."""

    left: Any
    right: Any


@dataclass(frozen=True, slots=True)
class Row:
    """A row."""

    at: datetime
    pairs: tuple[Pair, ...]


AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (AT, "2026-03-01T12:00:00.000Z"),
        (timedelta(minutes=1), 60.0),
        (
            Row(AT, (Pair(1, None),)),
            {"at": "2026-03-01T12:00:00.000Z", "pairs": [{"left": 1, "right": None}]},
        ),
        ({Word.YES: [Word.YES]}, {"yes": ["yes"]}),
        ("text", "text"),
    ],
    ids=["instant", "duration", "dataclass and struct", "enum", "text"],
)
def test_plain_says_values_as_json_has_them(value: Any, said: Any) -> None:
    """Structs are objects even where they pack as arrays, and the rest is as the log writes it."""
    assert plain(value) == said
    assert msgspec.json.decode(msgspec.json.encode(plain(value))) == said
