"""No message about a config ever holds a value of it."""

import json
import tomllib
import traceback
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config import load_config
from monitor.config.environment import variable_name
from monitor.config.keys import leaves
from monitor.config.public import public
from monitor.config.settings import Config
from monitor.errors import ConfigError
from monitor.secret import STARS, Secret

EXAMPLE = Path(__file__).parents[3] / "config.example.toml"
TEXT = EXAMPLE.read_text(encoding="utf-8")


def toml_value(value: Any) -> str:
    """Return a value as TOML writes it on one line."""
    match value:
        case bool():
            return str(value).lower()
        case date():
            return value.isoformat()
        case str():
            return json.dumps(value)
        case Mapping():
            inner = ", ".join(f"{json.dumps(key)} = {toml_value(part)}" for key, part in value.items())
            return f"{{ {inner} }}"
        case list():
            return f"[{', '.join(map(toml_value, value))}]"
        case _:
            return repr(value)


def toml_text(values: Mapping[str, Any]) -> str:
    """Return values as a TOML file, one top-level key a line."""
    return "\n".join(f"{json.dumps(key)} = {toml_value(value)}" for key, value in values.items())


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value, tables and lists included."""
    if path:
        yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from places(part, (*path, key))


def replaced(path: tuple[Any, ...], value: Any, *, misspelt: bool) -> dict[str, Any]:
    """Return the example with another value at a path, under its key or one that is almost that."""
    config: dict[str, Any] = tomllib.loads(TEXT)
    table: Any = config
    for key in path[:-1]:
        table = table[key]
    if misspelt and isinstance(path[-1], str):
        del table[path[-1]]
        table[path[-1] + "x"] = value
    else:
        table[path[-1]] = value
    return config


secrets = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=16, max_size=24).map("rg_live_{}".format)
shapes = st.sampled_from(
    [
        lambda secret: secret,
        lambda secret: [secret],
        lambda secret: [{"name": secret, "type": secret}],
        lambda secret: {"url": secret, "name": secret},
        lambda secret: f"https://user:{secret}@host:port/",
        lambda secret: f"{secret}\n",
        lambda secret: f"* * * * {secret}",
        lambda secret: f"whsec_{secret}",
    ]
)


def assert_silent(error: ConfigError, secret: str) -> None:
    """Check everything that could be shown of an error."""
    shown = "".join(traceback.format_exception(error)) + repr(error) + str(error) + repr(error.__dict__)
    assert secret not in shown


@given(st.sampled_from(list(places(tomllib.loads(TEXT)))), secrets, shapes, st.booleans())
def test_error_never_shows_a_value_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, path: tuple[Any, ...], secret: str, shape: Any, misspelt: bool
) -> None:
    """A secret put anywhere, in any shape, under a right or a misspelt key, is in no message."""
    file = tmp_path_factory.getbasetemp() / "leak.toml"
    file.write_text(toml_text(replaced(path, shape(secret), misspelt=misspelt)), encoding="utf-8")
    try:
        config = load_config(file, {})
    except ConfigError as error:
        assert_silent(error, secret)
    else:
        assert secret not in "".join(config.warnings)


@given(
    st.sampled_from([leaf.path for leaf in leaves(Config)]),
    secrets,
    shapes,
    st.sampled_from(["", "X", "__X"]),
)
def test_error_never_shows_a_value_of_a_variable(
    path: tuple[str, ...], secret: str, shape: Any, suffix: str
) -> None:
    """A secret in any variable, as text, JSON or broken JSON, is in no message."""
    value = shape(secret)
    environ = {
        "VOICELINK_API_KEY": "k",
        variable_name(path) + suffix: value if isinstance(value, str) else json.dumps(value),
    }
    try:
        load_config(None, environ)
    except ConfigError as error:
        assert_silent(error, secret)


@given(
    st.integers(min_value=0, max_value=len(TEXT)),
    st.sampled_from(['"', "=", "[", "\x00", "\\", "{", "\n"]),
    secrets,
)
def test_error_never_shows_a_line_of_a_broken_file(
    tmp_path_factory: pytest.TempPathFactory, position: int, junk: str, secret: str
) -> None:
    """A file that is no TOML is told by line and column alone."""
    text = TEXT.replace("rg_live_put_your_key_here", secret)
    file = tmp_path_factory.getbasetemp() / "broken.toml"
    file.write_text(text[:position] + junk + text[position:], encoding="utf-8")
    try:
        load_config(file, {})
    except ConfigError as error:
        shown = str(error)
        assert secret not in shown


@pytest.mark.parametrize(
    "shown",
    [
        repr,
        str,
        lambda config: json.dumps(config.public()),
        lambda config: repr(config.accounts[0].connections),
    ],
)
def test_config_never_shows_its_secrets(shown: Any) -> None:
    """Neither repr nor the safe dump has a secret in it."""
    account = {"name": "acme", "api_key": "SECRET1"}
    receivers = [
        {
            "name": "a",
            "type": "webhook",
            "url": "https://u:SECRET2@h/p?t=SECRET3",
            "secret": "whsec_SECRET44",
            "headers": {"X-A": "SECRET5"},
        },
        {"name": "h", "type": "webhook", "url": "https://h", "secrets": ["whsec_SECRETgg", "whsec_SECRETh4"]},
        {"name": "b", "type": "slack", "url": "https://h/SECRET6"},
        {"name": "c", "type": "apprise", "url": "mailto://SECRET7"},
        {"name": "d", "type": "pagerduty", "routing_key": "SECRET8"},
        {
            "name": "e",
            "type": "alertmanager",
            "urls": ["http://am/x"],
            "basic_auth": {"username": "u", "password": "SECRET9"},
        },
        {"name": "f", "type": "alertmanager", "urls": ["http://SECRETa:SECRETb@am/x"]},
        {
            "name": "g",
            "type": "pagerduty",
            "routing_key": "SECRETc",
            "url": "http://SECRETd:SECRETe@pd/x?SECRETf",
        },
    ]
    environ = {
        "VOICELINK_MONITOR_ACCOUNTS": json.dumps([account]),
        "VOICELINK_MONITOR_RECEIVERS": json.dumps(receivers),
        "VOICELINK_MONITOR_STORE__URL": "postgresql://u:SECRET@h/d?password=SECRET",
        "VOICELINK_MONITOR_HEARTBEAT__URL": "https://h/SECRET",
        "VOICELINK_MONITOR_WEB__BASIC_AUTH_USERS__ANN": "$2b$12$" + "SECRET" + "a" * 47,
    }
    assert "SECRET" not in shown(load_config(None, environ))


@pytest.mark.parametrize(
    "key", ["http://h:99999/SECRET", "https://", "http://[", "http:// ", "HTTP://\u2603"]
)
def test_secret_that_looks_like_a_url_is_shown_as_stars(key: str) -> None:
    """An API key is no URL, whatever it begins with, and must not be read as one."""
    account = Config.model_validate({"accounts": [{"name": "a", "api_key": "x"}]}).accounts[0]
    shown = public(account.model_copy(update={"api_key": Secret(key)}))
    assert shown["api_key"] == STARS


def test_debugging_pydantic_settings_shows_no_secret(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, write: Callable[[str], Path]
) -> None:
    """The library's own debug log, which prints raw values, stays silent."""
    monkeypatch.setenv("PYDANTIC_SETTINGS_DEBUG", "1")
    with caplog.at_level("DEBUG"):
        load_config(write('[[accounts]]\nname = "a"\napi_key = "SECRET"'), {})
    assert "SECRET" not in caplog.text
