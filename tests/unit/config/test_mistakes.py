"""What people paste along with a secret or a path is dropped or told, whichever key it is given for."""

import codecs
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from monitor.config import Config, load_config, secrets_of
from monitor.config.keys import bare, tables
from monitor.config.lists import AccountConfig
from monitor.config.receivers import BasicAuthConfig, ReceiverConfig
from monitor.config.settings import HeartbeatConfig, StoreConfig
from monitor.errors import ConfigError
from monitor.secret import Secret

CLEAN = {
    "api_key": "rg_live_0123456789",
    "bearer_token": "eyJhbGciOi.J9",
    "routing_key": "R0UTING",
    "secret": "whsec_c2VjcmV0c2VjcmV0",
    "store": "postgresql://u:p4ssw0rd@db.example.com/monitor",
    "password": "correct-horse",
    "apprise": "json://u:p4ssw0rd@h.example.com",
    "url": "https://hooks.example.com/T0/s3cret",
}
"""A value for each secret: by its table, if that has its own kind, else by its key."""


def secret_keys() -> Iterator[tuple[str, str, str]]:
    """Yield table, key and a valid value of every secret that the models know and that has a twin."""
    models: list[type[BaseModel]] = [
        AccountConfig,
        StoreConfig,
        HeartbeatConfig,
        BasicAuthConfig,
        *tables(ReceiverConfig),
    ]
    names = ["accounts", "store", "heartbeat", "basic_auth", *(model.__name__ for model in models[4:])]
    for table, model in zip(names, models, strict=True):
        kind = table.removesuffix("Config").lower()
        for key, field in model.model_fields.items():
            if bare(field.annotation) is Secret and not key.endswith("_file"):
                yield kind, key, CLEAN.get(kind, CLEAN[key])


SECRETS = list(secret_keys())
REQUIRED: dict[str, dict[str, Any]] = {
    "alertmanager": {"urls": ["https://am.example.com"]},
    "webhook": {"url": "https://hooks.example.com/x"},
}


def values_with(table: str, key: str, value: str) -> dict[str, Any]:
    """Return a config in which this key has this value."""
    accounts = [{"name": "a", "api_key": "rg_live_other"}]
    match table:
        case "accounts":
            return {"accounts": [{"name": "a", key: value}]}
        case "store" | "heartbeat":
            return {"accounts": accounts, table: {key: value}}
        case "basic_auth":
            login = {"username": "u", key: value}
            receiver = {"name": "r", "type": "alertmanager", "urls": ["https://am"], "basic_auth": login}
        case _:
            receiver = {"name": "r", "type": table, **REQUIRED.get(table, {}), key: value}
    return {"accounts": accounts, "receivers": [receiver]}


def loaded(values: dict[str, Any], folder: Path) -> Config:
    """Return the config of a file with these values."""
    file = folder / "config.toml"
    file.write_text(toml(values), encoding="utf-8")
    return load_config(file, {})


def toml(values: dict[str, Any]) -> str:
    """Return values as TOML, one top-level key a line."""
    return "\n".join(f"{json.dumps(key)} = {_inline(value)}" for key, value in values.items())


def _inline(value: Any) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{key} = {_inline(part)}" for key, part in value.items()) + "}"
        case list():
            return f"[{', '.join(map(_inline, value))}]"
        case _:
            return json.dumps(value, ensure_ascii=False)


def has_secret(config: Config, value: str) -> bool:
    """Whether a secret of the config has exactly this value."""
    return any(secret.reveal() == value for secret in secrets_of(config))


ALONG: dict[str, Callable[[str], str]] = {
    "line end": lambda value: f"{value}\n",
    "windows line end": lambda value: f"{value}\r\n",
    "space before": lambda value: f"  {value}",
    "byte order mark": lambda value: f"\ufeff{value}",
    "no-break space": lambda value: f"{value}\N{NO-BREAK SPACE}",
    "zero-width space": lambda value: f"\N{ZERO WIDTH SPACE}{value}",
    "zero-width space inside": lambda value: f"{value[:9]}\N{ZERO WIDTH SPACE}{value[9:]}",
    "quotes": lambda value: f'"{value}"',
    "single quotes": lambda value: f"'{value}'",
    "curly quotes": lambda value: f"\N{LEFT DOUBLE QUOTATION MARK}{value}\N{RIGHT DOUBLE QUOTATION MARK}",
    "bearer": lambda value: f"Bearer {value}",
    "export": lambda value: f"export VOICELINK_API_KEY={value}",
    "assignment": lambda value: f"VOICELINK_API_KEY={value}",
    "variable": lambda _: "${SECRET_OF_MINE}",
    "bare variable": lambda _: "$SECRET_OF_MINE",
    "template": lambda _: "{{ secret_of_mine }}",
    "path": lambda _: "/run/secrets/acme",
    "windows path": lambda _: r"C:\secrets\acme",
}
"""What may come along with a secret."""
FREE = {"password"}
"""Secrets that may be any text: what could be meant is taken as it is."""
QUESTIONABLE = ("quotes", "single quotes", "curly quotes", "variable", "bare variable", "template")
"""What hardly is meant even there: a warning asks."""


@pytest.mark.parametrize("along", ALONG)
@pytest.mark.parametrize("in_file", [False, True], ids=["value", "file"])
@pytest.mark.parametrize(("table", "key", "clean"), SECRETS, ids=[f"{row[0]}.{row[1]}" for row in SECRETS])
def test_what_is_pasted_along_is_dropped_or_told(
    table: str, key: str, clean: str, in_file: bool, along: str, tmp_path: Path
) -> None:
    """The secret is the clean one, or the message names the key and holds nothing of the secret."""
    given = ALONG[along](clean)
    where = f"{key}_file" if in_file else key
    file = tmp_path / "secret"
    file.write_text(given, encoding="utf-8")
    file.chmod(0o600)
    values = values_with(table, where, str(file) if in_file else given)
    config, problems = None, []
    try:
        config = loaded(values, tmp_path)
    except ConfigError as exc:
        problems = exc.problems
    if config is None:
        [problem] = problems
        assert where in problem
        assert clean not in problem
        assert "not a valid value" not in problem
    elif key in FREE:
        assert has_secret(config, clean) or has_secret(config, given)
        asked = any(where in warning for warning in config.warnings)
        assert asked or along not in QUESTIONABLE
    else:
        assert has_secret(config, clean)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (codecs.BOM_UTF8 + b"rg_live_1\r\n", None),
        ("rg_live_1\n".encode("utf-16"), "UTF-16"),
        ("rg_live_1\n".encode("utf-16-le"), "UTF-16"),
        ("rg_live_1\n".encode("utf-32"), "UTF-16"),
        (b"rg_live_\xff", "not UTF-8"),
    ],
    ids=["mark", "utf-16", "utf-16 without mark", "utf-32", "latin-1"],
)
def test_encoding_of_a_file_is_borne_or_told(content: bytes, said: str | None, tmp_path: Path) -> None:
    """Editors of Windows write a mark, or UTF-16; both the config and a secret's file are judged alike."""
    key = tmp_path / "key"
    key.write_bytes(content)
    environ = {"VOICELINK_API_KEY_FILE": str(key)}
    file = tmp_path / "config.toml"
    file.write_bytes(content.replace(b"rg_live_1", b"#") if said is None or said != "UTF-16" else content)
    if said is None:
        assert load_config(file, environ).accounts[0].secret.reveal() == "rg_live_1"
        return
    with pytest.raises(ConfigError, match=said) as error:
        load_config(None, environ)
    assert str(key) in str(error.value)
    with pytest.raises(ConfigError, match=f"the config file is .*{said}"):
        load_config(file, environ)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("~/keys/acme", "~ is not expanded"),
        ("${CREDENTIALS_DIRECTORY}/acme", "not expanded"),
        ("$HOME/acme", "not expanded"),
        ('"/run/secrets/acme"', "in quotes"),
        (r"C:\keys\acme", "Windows path"),
        (r"keys\acme", "Windows path"),
        ("/nowhere/acme", "No such file"),
    ],
)
@pytest.mark.parametrize("key", ["accounts[0].api_key_file", "api.ca_file", "web.tls_key_file"])
def test_path_that_cannot_be_one_is_told(key: str, given: str, said: str, tmp_path: Path) -> None:
    """A file that is not found under what was written gets the reason, where that shows."""
    account = {
        "name": "a",
        "api_key_file" if "api_key" in key else "api_key": given if "api_key" in key else "k",
    }
    values: dict[str, Any] = {"accounts": [account]}
    if "api_key" not in key:
        table, _, name = key.partition(".")
        values[table] = {name: given}
    with pytest.raises(ConfigError) as error:
        loaded(values, tmp_path)
    expected = "there is no such file" if said.startswith("No such") and "api_key" not in key else said
    assert any(problem.startswith(key) and expected in problem for problem in error.value.problems)


def test_backslash_in_toml_is_told(tmp_path: Path) -> None:
    """A Windows path in double quotes is not TOML; the place and the way out are said."""
    file = tmp_path / "config.toml"
    file.write_text('[api]\nca_file = "C:\\secrets\\ca.pem"\n')
    with pytest.raises(ConfigError, match=r"line 2, column \d+: not valid TOML; in double quotes a \\ must"):
        load_config(file, {})


def test_refresh_keeps_a_secret_whose_new_value_is_none(tmp_path: Path) -> None:
    """What may not be in a file at a start does not come in by a change of the file either."""
    file = tmp_path / "key"
    file.write_text("rg_live_1")
    secret = load_config(None, {"VOICELINK_API_KEY_FILE": str(file)}).accounts[0].secret
    file.write_text('"rg_live_22"')
    assert secret.refresh() is False
    assert secret.reveal() == "rg_live_1"
    assert secret.refused is not None
    assert "in quotes" in secret.refused
    assert "rg_live" not in secret.refused
    file.write_bytes(codecs.BOM_UTF8 + b"rg_live_333\r\n")
    assert secret.refresh() is True
    assert secret.reveal() == "rg_live_333"
