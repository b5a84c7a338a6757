"""The environment as a source of settings; the one place that reads it."""

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_origin

from monitor.config.keys import Leaf, is_map, leaves
from monitor.config.settings import Config
from monitor.errors import nearest

PREFIX = "VOICELINK_MONITOR_"
API_KEY = "VOICELINK_API_KEY"
API_KEY_FILE = "VOICELINK_API_KEY_FILE"
CONFIG_FILE = "VOICELINK_MONITOR_CONFIG"

_SEPARATOR = "__"


@dataclass(slots=True)
class Environment:
    """What the environment says.

    `origins` tells which variable gave the value at a path. `problems` never hold a value.
    """

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[tuple[str, ...], str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def put(self, path: tuple[str, ...], value: Any, variable: str) -> None:
        """Note the value at a path; one inside a map that was given whole is added to it."""
        table = self.values
        for key in path[:-1]:
            table = table.setdefault(key, {})
        before = table.get(path[-1])
        both = isinstance(value, dict) and isinstance(before, dict)
        table[path[-1]] = value | before if both else value
        self.origins[path] = variable


def process_environment() -> Mapping[str, str]:
    """Return the environment of this process."""
    return os.environ


def without_key_log() -> None:
    """Take SSLKEYLOGFILE out of the environment of this process.

    Where it is set, `ssl` writes the keys of every TLS connection to that file; and if it cannot be written,
    aiohttp cannot be imported.
    """
    os.environ.pop("SSLKEYLOGFILE", None)


def variable_name(path: tuple[str, ...]) -> str:
    """Return the variable that sets the key at a path."""
    return PREFIX + _SEPARATOR.join(path).upper()


def read_environment(environ: Mapping[str, str]) -> Environment:
    """Return what the monitor's own variables set.

    Names are compared without case. One without `__` that is not a key is left alone: Kubernetes gives
    every pod variables like `VOICELINK_MONITOR_PORT`.
    """
    found = Environment()
    known = {leaf.path: leaf for leaf in leaves(Config)}
    for variable in sorted(environ):
        rest = variable.upper().removeprefix(PREFIX)
        if variable.upper() != rest:
            _take(found, known, variable, tuple(rest.lower().split(_SEPARATOR)), environ[variable])
    return found


def with_sole_key(found: Environment, environ: Mapping[str, str], file: Mapping[str, Any]) -> None:
    """Add the account `default` for `VOICELINK_API_KEY` if no account is configured."""
    if found.values.get("accounts", file.get("accounts")):
        return
    for variable, key in ((API_KEY, "api_key"), (API_KEY_FILE, "api_key_file")):
        if environ.get(variable):
            found.put(("accounts",), [{"name": "default", key: environ[variable]}], variable)
            return


def _take(
    found: Environment,
    known: Mapping[tuple[str, ...], Leaf],
    variable: str,
    path: tuple[str, ...],
    value: str,
) -> None:
    if path in known:
        kind = known[path].annotation
        try:
            found.put(path, _parsed(kind, value), variable)
        except (ValueError, TypeError, RecursionError):
            example = '{"key": "value"}' if get_origin(kind) is dict else "[…]"
            found.problems.append(f"{variable}: this key is given whole, as valid JSON like {example}")
        return
    for depth in range(1, len(path)):
        table, key = path[:depth], _SEPARATOR.join(path[depth:])
        if key and is_map(Config, table):
            found.put((*table, key), value, variable)
            return
    if _SEPARATOR in variable:
        found.problems.append(_unknown(variable, path, known))


def _parsed(kind: Any, value: str) -> Any:
    """Return a variable's text as TOML would read it; a text that is not of its kind is judged later."""
    if get_origin(kind) in (tuple, dict):
        parsed = json.loads(value)
        if not isinstance(parsed, list if get_origin(kind) is tuple else dict):
            raise TypeError("not of the key's kind")
        return parsed
    if kind is bool:
        return {"true": True, "false": False}.get(value.strip().lower(), value)
    if kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(value)
    return value


def _unknown(variable: str, path: tuple[str, ...], known: Mapping[tuple[str, ...], Leaf]) -> str:
    whole = path[:1]
    if whole in known and get_origin(known[whole].annotation) is tuple:
        return f"{variable}: a list is given whole, as JSON, in {variable_name(whole)}"
    close = nearest(variable, [variable_name(key) for key in known])
    return f"{variable}: no such key" + (f"; did you mean {close}?" if close else "")
