"""The environment as a source of settings; the one place that reads it."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_origin

from monitor.config.keys import Leaf, dotted, is_map, leaves, rivals
from monitor.config.mistakes import in_quotes
from monitor.config.settings import Config
from monitor.errors import nearest
from monitor.secret import trimmed

PREFIX = "VOICELINK_MONITOR_"
API_KEY = "VOICELINK_API_KEY"
API_KEY_FILE = "VOICELINK_API_KEY_FILE"
CONFIG_FILE = "VOICELINK_MONITOR_CONFIG"

_SEPARATOR = "__"
_STORE = ("store", "url")
"""The image sets this one: a file's would go unused unnoticed, and each replica have a store of its own."""


@dataclass(slots=True)
class Environment:
    """What the environment says.

    `origins` tells which variable gave the value at a path. `problems` and `warnings` never hold a value.
    """

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[tuple[str, ...], str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

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
        if variable.upper() == rest:
            continue
        path, value = tuple(rest.lower().split(_SEPARATOR)), trimmed(environ[variable])
        if path in found.origins:
            found.problems.append(f"{variable}: {found.origins[path]} sets the same key: remove one of them")
        elif in_quotes(value) and (path in known or _SEPARATOR in variable):
            found.problems.append(
                f"{variable}: its value is in quotes, which are part of it (docker --env-file keeps them): "
                "remove them"
            )
        else:
            _take(found, known, variable, path, value)
    found.warnings += _nearly_ours(environ, known)
    return found


def with_sole_key(found: Environment, environ: Mapping[str, str], file: Mapping[str, Any]) -> None:
    """Add the account `default` for `VOICELINK_API_KEY` if no account is configured."""
    given = {
        variable: (key, environ[variable])
        for variable, key in ((API_KEY, "api_key"), (API_KEY_FILE, "api_key_file"))
        if trimmed(environ.get(variable, ""))
    }
    if not given:
        return
    if found.values.get("accounts", file.get("accounts")):
        accounts = found.origins.get(("accounts",), "[[accounts]] in the config file")
        found.warnings += [
            f"{variable}: not used, because {accounts} gives the API keys and takes precedence: "
            f"remove {variable}, or the accounts"
            for variable in given
        ]
        return
    if len(given) > 1:
        found.problems.append(f"{API_KEY}: {API_KEY_FILE} is set too: remove one of them")
    for variable, (key, value) in given.items():
        found.put(("accounts",), [{"name": "default", key: value}], variable)
        return


def without_rivals(found: Environment, file: Mapping[str, Any]) -> dict[str, Any]:
    """Return the file without what the environment says another way; what that takes away is a warning."""
    left = dict(file)
    for table, keys in rivals(Config):
        given, over = left.get(table), found.values.get(table)
        if not isinstance(given, dict) or not isinstance(over, dict):
            continue
        for mine in (key for key in keys if over.get(key) not in (None, "")):
            variable = found.origins[table, mine]
            gone = [key for key in keys if key != mine and key in given]
            found.warnings += [
                f"{table}.{key}: not used, because {variable} sets {table}.{mine} instead" for key in gone
            ]
            given = {key: value for key, value in given.items() if key not in gone}
        left[table] = given
    for path, variable in found.origins.items():
        value, before = _value_at(found.values, path), _value_at(file, path)
        if before in (None, "", value):
            continue
        if value == "":
            found.warnings.append(f"{dotted(path)}: not used, because {variable} is set to nothing")
        elif path == _STORE:
            found.warnings.append(f"{dotted(path)}: not used, because {variable} sets another")
    return left


def _value_at(values: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    current: Any = values
    for key in path:
        current = current.get(key) if isinstance(current, Mapping) else None
    return current


def _nearly_ours(environ: Mapping[str, str], known: Mapping[tuple[str, ...], Leaf]) -> Iterator[str]:
    """Yield the variables with one `_` where a key has two: they set nothing."""
    meant = {variable_name(path).replace(_SEPARATOR, "_"): variable_name(path) for path in known}
    meant |= {PREFIX + key.removeprefix("VOICELINK_"): key for key in (API_KEY, API_KEY_FILE)}
    for variable in sorted(environ):
        name = meant.get(variable.upper())
        if name is not None and name != variable.upper():
            yield f"{variable}: it sets nothing; did you mean {name}?"


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
