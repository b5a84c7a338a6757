"""From a file and the environment to a `Config`, or to one error that says everything that is wrong."""

import hashlib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
    without_rivals,
)
from monitor.config.keys import at, explain
from monitor.config.lists import AccountConfig
from monitor.config.settings import Config, ScheduleConfig
from monitor.errors import ConfigError
from monitor.secret import Secret, text_of, trimmed

M = TypeVar("M", bound=BaseModel)

_OTHER_FILES = ("ca_file", "tls_cert_file", "tls_key_file")
"""They hold no secret, or are read by the daemon alone."""

SYSTEM_CONFIG_FILE = Path("/etc/voicelink-monitor/config.toml")


def find_config_file(
    environ: Mapping[str, str] | None = None, cwd: Path | None = None, system: Path = SYSTEM_CONFIG_FILE
) -> Path | None:
    """Return the config file to use when no `--config` names one.

    That is `$VOICELINK_MONITOR_CONFIG` (whether it exists or not: who names a file wants to hear that it
    is missing), else `config.toml` in `cwd`, else the system's; None if there is none.
    """
    environ = process_environment() if environ is None else environ
    if named := trimmed(environ.get(CONFIG_FILE, "")):
        return Path(named)
    candidates = ((cwd or Path()) / "config.toml", system)
    return next((file for file in candidates if _is_there(file)), None)


def _is_there(file: Path) -> bool:
    """Return whether there is such a file, or something that must be told: that it cannot be reached."""
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What file and environment say together, whether or not all of it can be used."""

    source: str | None
    """The file, if there is one."""
    file_digest: str | None = None
    """Of its bytes, as `sha256sum` shows it, behind "sha256:"; None if they could not be read."""
    problems: list[str]
    """What is wrong with the file, or with variables that set its keys; no problem ever holds a value."""
    elsewhere: list[str] = field(default_factory=list)
    """What else is wrong, like variables of other programs that count here too."""
    warnings: list[str]
    """What is valid but probably not meant."""
    config: Config | None = None
    """With defaults in place of `invalid`; None if not even that much could be read."""
    invalid: frozenset[str] = frozenset()
    """The top-level keys in which something is wrong."""
    origins: Mapping[tuple[str, ...], str] = field(default_factory=dict)
    """Which variable set the value at a path."""

    def valid(self) -> Config:
        """Return the config.

        Raises:
            ConfigError: With every problem.
        """
        if self.config is None or self.problems or self.elsewhere:
            raise ConfigError(self.problems, self.source, self.elsewhere)
        return self.config.noting(file=self.source, file_digest=self.file_digest, warnings=self.warnings)


def load_config(
    path: Path | None,
    environ: Mapping[str, str] | None = None,
    *,
    now: datetime | None = None,
    secrets: bool = True,
) -> Config:
    """Return the config of a file, if one is given, under the environment.

    Reads files: call it from a thread where a loop runs.

    Args:
        path: A TOML file.
        environ: Variables; those of this process if None.
        now: For what depends on the date; the machine's clock if None.
        secrets: Whether they are needed; if not, something stands in for those whose files are not there,
            but for the store's URL.

    Raises:
        ConfigError: With every problem of every kind.
    """
    return read_config(path, environ, now=now, secrets=secrets).valid()


def read_config(
    path: Path | None,
    environ: Mapping[str, str] | None = None,
    *,
    now: datetime | None = None,
    secrets: bool = True,
) -> Reading:
    """Read what `load_config` loads, and raise nothing."""
    now = now or SystemClock().now()
    environ = process_environment() if environ is None else environ
    source = None if path is None else str(path)
    found = read_environment(environ)
    file, digest = {}, None
    try:
        if path is not None:
            raw = _bytes_of(path)
            digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
            file = _parsed_toml(raw)
    except ValueError as exc:
        named = source == trimmed(environ.get(CONFIG_FILE, ""))
        problem = f"{exc} ({CONFIG_FILE} names this file)" if named else str(exc)
        return Reading(
            source=source,
            file_digest=digest,
            problems=[problem, *found.problems],
            warnings=found.warnings,
        )
    file = without_rivals(found, file)
    with_sole_key(found, environ, file)
    if not secrets:
        file, found = _without_secrets(file), replace(found, values=_without_secrets(found.values))
    config, invalid, problems = _validated(file, found, now)
    warnings = found.warnings
    if config is not None and not problems:
        warnings = [*warnings, *questions(config, now)]
    return Reading(
        source=source,
        file_digest=digest,
        problems=problems,
        warnings=warnings,
        config=config,
        invalid=invalid,
        origins=found.origins,
    )


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ValueError(f"the config file cannot be read: {exc.strerror}") from None


def _parsed_toml(raw: bytes) -> dict[str, Any]:
    try:
        text = text_of(raw)
    except ValueError as exc:
        raise ValueError(f"the config file {exc}") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        # The rest of its text may quote the file.
        found = re.search(r"\(at (line \d+, column \d+)\)$", str(exc))
        place = found[1] if found else "at the end of the file"
        hint = "; in double quotes a \\ must be written twice" if str(exc).startswith("Unescaped") else ""
        raise ValueError(f"{place}: not valid TOML{hint}") from None
    except (ValueError, RecursionError):
        raise ValueError("not valid TOML: a value is out of bounds, or nested too deeply") from None


def _without_secrets(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of the config in which something stands in for each secret whose file is not there."""

    def instead(key: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return dict(value) if key == "store" else _without_secrets(value)
        if isinstance(value, list):
            return [instead(key, each) for each in value]
        if not key.endswith("_file") or key in _OTHER_FILES or not isinstance(value, str):
            return value
        return Secret.absent(Path(value)) if value.isprintable() and not os.access(value, os.R_OK) else value

    return {key: instead(key, value) for key, value in values.items()}


def _validated(
    file: Mapping[str, Any], found: Environment, now: datetime
) -> tuple[Config | None, frozenset[str], list[str]]:
    """Return the config, which of its keys are not the user's because theirs are wrong, and what is wrong."""
    invalid: frozenset[str] = frozenset()
    problems = list(found.problems)
    try:
        config = _config(file, found.values)
    except ValidationError as exc:
        problems += explain(exc, found.origins)
        invalid = frozenset(str(error["loc"][0]) for error in exc.errors(include_input=False))
        config = _config(
            *({key: layer[key] for key in layer.keys() - invalid} for layer in (file, found.values))
        )
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
    return config, invalid, problems


def _config(file: Mapping[str, Any], environment: Mapping[str, Any]) -> Config:
    # What comes first wins, key by key.
    layers = tuple(InitSettingsSource(Config, dict(values)) for values in (environment, file))
    return Config(_build_sources=(layers, {}))


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
