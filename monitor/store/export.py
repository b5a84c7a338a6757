"""Rows of the store as CSV, for spreadsheets and programs: RFC 4180, in UTF-8.

Texts are quoted, numbers are not; a list is one text, `NO_BOT, EXPIRED`. A spreadsheet runs a text that
begins with `=`, `+`, `-` or `@` as a formula, and most texts come from the provider, so these get an
apostrophe in front. A phone number in E.164 (`+` and digits) does not: programs need it as it is, and the
worst that it could do is to be shown as a number.

Sources: https://www.rfc-editor.org/rfc/rfc4180, https://owasp.org/www-community/attacks/CSV_Injection
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from monitor.clock import rfc3339

NUMBER_COLUMNS = (
    *("connection", "account", "key", "phone_number", "state", "drifting", "issues", "action_items"),
    *("did_id", "client_id", "bot_id", "agent_id"),
)
CHANGE_COLUMNS = (
    *("at", "connection", "account", "change", "key", "phone_number", "previous_state", "state"),
    *("previous_issues", "issues", "moved", "action_items", "did_id", "client_id", "sync_id"),
)
ALERT_COLUMNS = (
    *("alert_id", "kind", "status", "severity", "account", "connections", "state", "summary"),
    *("numbers_total", "first_step", "started_at", "updated_at", "resolved_at", "duration_s", "resolution"),
    *("widespread", "part_of", "url"),
)
PROBLEM_COLUMNS = (
    *("connection", "account", "kind", "key", "phone_number", "state", "previous_state", "issues", "action"),
    *("status", "since", "flaps", "alert_id"),
)
"""What is written of a row of each kind: attributes of the rows that queries return."""

_RUNS = re.compile(r"\s*[=+\-@＝＋－＠]|[\t\r\n]")  # noqa: RUF001 - some spreadsheets take the wide ones too
_PHONE_NUMBER = re.compile(r"\+[0-9]+")


def csv_of(rows: Iterable[Sequence[Any]]) -> str:
    """Return rows of values as lines of CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def values_of(row: object, columns: Sequence[str]) -> list[Any]:
    """Return what a row has in these columns."""
    return [getattr(row, column) for column in columns]


def _cell(value: Any) -> str | int | float:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case int() | float():
            return value
        case datetime():
            return rfc3339(value)
        case list() | tuple():
            return guarded(", ".join(map(_item, value)))
        case _:
            return guarded(str(value))


def _item(value: Any) -> str:
    return str(value["label"] or value["code"]) if isinstance(value, Mapping) else str(value)


def guarded(text: str) -> str:
    """Return a text that no spreadsheet runs as a formula."""
    return f"'{text}" if _RUNS.match(text) and not _PHONE_NUMBER.fullmatch(text) else text
