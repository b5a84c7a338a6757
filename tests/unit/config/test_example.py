"""config.example.toml holds every key, and holds together."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, get_origin

import pytest

from monitor.config import config_schema, load_config
from monitor.config.accounts import AccountConfig
from monitor.config.environment import read_environment, variable_name
from monitor.config.keys import leaves, tables
from monitor.config.receivers import ReceiverConfig
from monitor.config.settings import Config
from monitor.config.silence import IgnoreConfig, MaintenanceConfig

EXAMPLE = Path(__file__).parents[3] / "config.example.toml"
GIVEN = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))


def every_key() -> dict[str, set[str]]:
    """Return the keys of each table, those that are commented out included."""
    found: dict[str, set[str]] = {"": set()}
    table = ""
    for line in EXAMPLE.read_text(encoding="utf-8").splitlines():
        if header := re.match(r"#?\[+([a-z.]+)\]+", line):
            table = header[1]
            found.setdefault(table, set())
        elif key := re.match(r"#?([A-Za-z_]+) = ", line):
            found[table].add(key[1])
    return found


def test_example_loads_without_a_question() -> None:
    """The example is a valid config that raises no warning."""
    assert load_config(EXAMPLE, {}).warnings == []


def test_example_shows_every_key_there_is() -> None:
    """Each key of each table stands in the example, in use or commented out."""
    shown = every_key()
    receivers = {key for model in tables(ReceiverConfig) for key in model.model_fields}
    lists: dict[str, set[str]] = {
        "accounts": set(AccountConfig.model_fields) - {"connections"},
        "ignore": set(IgnoreConfig.model_fields),
        "maintenance": set(MaintenanceConfig.model_fields),
        "receivers": receivers,
    }
    for table, keys in lists.items():
        assert keys - shown[table] == set(), table
    for leaf in leaves(Config):
        if leaf.path[0] not in lists:
            assert leaf.path[-1] in shown[".".join(leaf.path[:-1])], leaf.path


@pytest.mark.parametrize("leaf", list(leaves(Config)), ids=lambda leaf: ".".join(leaf.path))
def test_every_key_has_a_variable(leaf: Any) -> None:
    """Each key outside of lists, and each list, is known by its variable, in any case."""
    value = "{}" if get_origin(leaf.annotation) is dict else "[]"
    for name in (variable_name(leaf.path), variable_name(leaf.path).lower()):
        found = read_environment({name: value})
        assert found.problems == []
        assert list(found.origins) == [leaf.path]


def variables(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Yield a config's values as variables."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from variables(value, (*path, key))
        elif isinstance(value, str):
            yield variable_name((*path, key)), value
        else:
            yield variable_name((*path, key)), json.dumps(value, default=date.isoformat)


def test_example_loads_the_same_from_the_environment() -> None:
    """The whole example given as variables, without a file, is the same config."""
    from_file = load_config(EXAMPLE, {})
    from_environment = load_config(None, dict(variables(GIVEN)))
    assert from_environment.public() == from_file.public()


KINDS: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}


def mismatches(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], at: str = "") -> Iterator[str]:
    """Yield where a value breaks a JSON Schema, for the keywords that ours uses."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    options = schema.get("oneOf") or schema.get("anyOf")
    if options and all(list(mismatches(value, option, root, at)) for option in options):
        yield f"{at}: fits no option"
    if "type" in schema and not isinstance(value, KINDS[schema["type"]]):
        yield f"{at}: not of type {schema['type']}"
        return
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        yield f"{at}: not among the choices"
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        yield f"{at}: breaks the pattern"
    for key, part, inner in parts(value, schema):
        yield from mismatches(part, inner, root, f"{at}.{key}")
    yield from (f"{at}.{key}: missing" for key in schema.get("required", []) if key not in value)


def parts(value: Any, schema: Mapping[str, Any]) -> Iterator[tuple[object, Any, Mapping[str, Any]]]:
    """Yield what a value holds, with the schema of each; nothing fits that of an unknown key."""
    if isinstance(value, list):
        yield from ((index, part, schema.get("items", {})) for index, part in enumerate(value))
    elif isinstance(value, dict):
        for key, part in value.items():
            inner = schema.get("properties", {}).get(key, schema.get("additionalProperties", {}))
            yield key, part, {"enum": []} if inner is False else inner


def test_example_fits_the_schema() -> None:
    """The example, dates as text, is valid under `config-schema`."""
    values = json.loads(json.dumps(GIVEN, default=date.isoformat))
    schema = config_schema()
    assert list(mismatches(values, schema, schema)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"instnce": "x"},
        {"schedule": {"interval": "soon"}},
        {"receivers": [{"name": "x", "type": "pigeon"}]},
        {"accounts": [{}]},
    ],
    ids=["unknown key", "no duration", "no such receiver", "no name"],
)
def test_schema_refuses_what_the_config_refuses(change: dict[str, Any]) -> None:
    """The schema is no rubber stamp."""
    schema = config_schema()
    assert list(mismatches(GIVEN | change, schema, schema))


def test_schema_describes_every_key() -> None:
    """Each key of each table has words."""
    schema = config_schema()
    for name, table in schema["$defs"].items():
        for key, field in table.get("properties", {}).items():
            assert field.get("description"), f"{name}.{key}"
