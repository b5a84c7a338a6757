"""From a file and the environment to a `Config`, or to one error that says everything that is wrong."""

import re
import tomllib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_settings import InitSettingsSource

from monitor.clock import SystemClock
from monitor.config.checks import NO_ACCOUNT, budget_problems, questions, unique_problems
from monitor.config.environment import (
    CONFIG_FILE,
    Environment,
    process_environment,
    read_environment,
    with_sole_key,
)
from monitor.config.keys import at, explain
from monitor.config.lists import AccountConfig
from monitor.config.settings import Config, ScheduleConfig
from monitor.errors import ConfigError

M = TypeVar("M", bound=BaseModel)

SYSTEM_CONFIG_FILE = Path("/etc/voicelink-monitor/config.toml")

_RIVALS = {
    "schedule": ({"interval"}, {"cron"}),
    "heartbeat": ({"url"}, {"url_file"}),
    "store": ({"url"}, {"url_file"}),
}
"""Keys outside of lists that exclude each other: the environment's beats the file's other one too."""


def find_config_file(
    environ: Mapping[str, str] | None = None, cwd: Path | None = None, system: Path = SYSTEM_CONFIG_FILE
) -> Path | None:
    """Return the config file to use when no `--config` names one.

    That is `$VOICELINK_MONITOR_CONFIG` (whether it exists or not: who names a file wants to hear that it
    is missing), else `config.toml` in `cwd`, else the system's; None if there is none.
    """
    environ = process_environment() if environ is None else environ
    if named := environ.get(CONFIG_FILE):
        return Path(named)
    candidates = ((cwd or Path()) / "config.toml", system)
    return next((file for file in candidates if file.exists()), None)


def load_config(
    path: Path | None, environ: Mapping[str, str] | None = None, *, now: datetime | None = None
) -> Config:
    """Return the config of a file, if one is given, under the environment.

    Reads files: call it from a thread where a loop runs.

    Args:
        path: A TOML file.
        environ: Variables; those of this process if None.
        now: For what depends on the date; the machine's clock if None.

    Raises:
        ConfigError: With every problem of every kind. No problem ever holds a value.
    """
    now = now or SystemClock().now()
    environ = process_environment() if environ is None else environ
    source = None if path is None else str(path)
    found = read_environment(environ)
    try:
        file = {} if path is None else _read_toml(path)
    except ConfigError as exc:
        raise ConfigError([*exc.problems, *found.problems], source) from exc.__cause__
    file = _without_rivals(file, found.values)
    with_sole_key(found, environ, file)
    config, problems = _validated(file, found, now)
    if config is None or problems:
        raise ConfigError(problems, source) from None
    return config.with_warnings(list(questions(config, now)))


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigError([f"the config file cannot be read: {exc.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigError(["the config file is not UTF-8 text"]) from None
    except tomllib.TOMLDecodeError as exc:
        # The rest of its text may quote the file.
        found = re.search(r"\(at (line \d+, column \d+)\)$", str(exc))
        raise ConfigError([f"{found[1] if found else 'at the end of the file'}: not valid TOML"]) from None
    except (ValueError, RecursionError):
        raise ConfigError(["not valid TOML: a value is out of bounds, or nested too deeply"]) from None


def _without_rivals(file: Mapping[str, Any], environment: Mapping[str, Any]) -> dict[str, Any]:
    left = dict(file)
    for section, rivals in _RIVALS.items():
        given, over = left.get(section), environment.get(section)
        if not isinstance(given, dict) or not isinstance(over, dict):
            continue
        for mine, other in (rivals, rivals[::-1]):
            if mine & over.keys():
                given = {key: value for key, value in given.items() if key not in other}
        left[section] = given
    return left


def _validated(file: Mapping[str, Any], found: Environment, now: datetime) -> tuple[Config | None, list[str]]:
    config: Config | None = None
    problems = list(found.problems)
    try:
        # What comes first wins, key by key.
        layers = tuple(InitSettingsSource(Config, dict(values)) for values in (found.values, file))
        config = Config(_build_sources=(layers, {}))
    except ValidationError as exc:
        problems += explain(exc, found.origins)
    raw = {**file, **found.values}
    given = raw.get("accounts")
    if given == [] or (given is None and "accounts" not in file):
        problems.append(NO_ACCOUNT)
    rows = given if isinstance(given, list) else []
    accounts = {
        place: account for place, row in enumerate(rows) if (account := _read(AccountConfig, row)) is not None
    }
    problems += [at(path, text, found.origins) for path, text in unique_problems(raw, accounts)]
    both = [layer.get("schedule") for layer in (file, found.values)]
    values = {key: value for layer in both if isinstance(layer, dict) for key, value in layer.items()}
    if (schedule := _read(ScheduleConfig, values)) is not None:
        problems += budget_problems(accounts.values(), schedule, now)
    return config, problems


def _read(model: type[M], values: Any) -> M | None:
    try:
        return model.model_validate(values)
    except ValidationError:
        return None


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the whole config, every key described."""
    schema = Config.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "The config of voicelink-monitor",
    }
