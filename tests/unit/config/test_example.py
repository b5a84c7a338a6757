"""config.example.toml holds every key, and holds together."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, get_origin

import pytest
from jsonschema import Draft202012Validator

from monitor.config import config_schema, load_config
from monitor.config.environment import read_environment, variable_name
from monitor.config.keys import leaves, tables
from monitor.config.lists import AccountConfig, IgnoreConfig, MaintenanceConfig
from monitor.config.receivers import ReceiverConfig
from monitor.config.settings import Config

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


def problems(values: Mapping[str, Any]) -> list[str]:
    """Return where a config, dates as text, breaks the schema of `config-schema`."""
    instance = json.loads(json.dumps(values, default=date.isoformat))
    return [error.message for error in Draft202012Validator(config_schema()).iter_errors(instance)]


def test_schema_is_valid_itself() -> None:
    """It is a JSON Schema of the draft that it names."""
    Draft202012Validator.check_schema(config_schema())


def test_example_fits_the_schema() -> None:
    """The example is valid under `config-schema`."""
    assert problems(GIVEN) == []


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
    assert problems(GIVEN | change)


def test_schema_describes_every_key() -> None:
    """Each key of each table has words."""
    schema = config_schema()
    for name, table in schema["$defs"].items():
        for key, field in table.get("properties", {}).items():
            assert field.get("description"), f"{name}.{key}"
