"""pydantic's errors in our words: the key, what is wrong, what to write. Never the value."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from monitor.config.keys import Path, dotted, follow, item, known_keys, tables
from monitor.config.settings import Config
from monitor.config.values import PROBLEM
from monitor.errors import nearest

Origins = Mapping[tuple[str, ...], str]

# The texts of these types come from the model, not from the input: `ctx` holds limits and choices.
_WORDS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "missing": lambda _: "missing: this key is required",
    "string_type": lambda _: "expected text in quotes",
    "bool_type": lambda _: "expected true or false",
    "int_type": lambda _: "expected a whole number, like 30",
    "float_type": lambda _: "expected a number, like 0.5",
    "finite_number": lambda _: "expected a number, like 0.5",
    "literal_error": lambda ctx: f"expected one of {ctx['expected']}",
    "greater_than": lambda ctx: f"must be more than {ctx['gt']}",
    "greater_than_equal": lambda ctx: f"must be at least {ctx['ge']}",
    "less_than_equal": lambda ctx: f"must be at most {ctx['le']}",
    "too_short": lambda _: "must not be empty",
    "tuple_type": lambda _: 'expected a list, like ["…"]',
    "dict_type": lambda _: 'expected a table, like { key = "value" }',
    "model_type": lambda _: "expected a table of keys and values",
    "model_attributes_type": lambda _: "expected a table of keys and values",
    "union_tag_not_found": lambda _: "missing: this key is required",
    "union_tag_invalid": lambda ctx: f"expected one of {ctx['expected_tags']}",
}


def explain(exc: ValidationError, origins: Origins, prefix: Path = ()) -> list[str]:
    """Return one sentence for each error of a validation of the whole config."""
    errors = exc.errors(include_url=False, include_input=False)
    return [_sentence(error, origins, prefix) for error in errors]


def at(path: Path, text: str, origins: Origins) -> str:
    """Return a sentence about what stands at a path, with the variable that set it if one did."""
    where = dotted(path)
    named = tuple(part for part in path if isinstance(part, str))
    for depth in range(len(named), 0, -1):
        if named[:depth] in origins:
            return f"{where} (from {origins[named[:depth]]}): {text}"
    return f"{where}: {text}" if where else text


def _sentence(error: ErrorDetails, origins: Origins, prefix: Path) -> str:
    path, holder, expected = follow(Config, (*prefix, *error["loc"]))
    kind = error["type"]
    if kind == "extra_forbidden":
        return at(path, _unknown(str(path[-1]), holder), origins)
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        path = (*path, "type")
    if kind == "tuple_type" and tables(item(expected)):
        return at(path, f"expected a list of tables, like [[{_table_name(path)}]]", origins)
    if kind == PROBLEM:
        return at(path, error["msg"], origins)
    words = _WORDS.get(kind)
    return at(path, words(error.get("ctx", {})) if words else "not a valid value", origins)


def _unknown(key: str, holder: Any) -> str:
    known = known_keys(holder)
    close = nearest(key, known)
    hint = f"did you mean {close}?" if close else f"known here: {', '.join(known)}"
    return f"unknown key; {hint}"


def _table_name(path: Path) -> str:
    return ".".join(part for part in path if isinstance(part, str))
