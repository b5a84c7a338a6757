"""From files and variables to a config."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.config import AlertmanagerConfig, Config, Listen, find_config_file, load_config
from monitor.config.keys import rivals
from monitor.errors import ConfigError
from monitor.http.address import Address
from monitor.secret import STARS

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
KEY = {"VOICELINK_API_KEY": "rg_live_1"}
UUID = "9b7f1c44-c87f-4f0c-9124-3c802a9c1a20"
Write = Callable[[str], Path]


def load(values: dict[str, Any], environ: dict[str, str] | None = None) -> Config:
    """Load a config whose lists are given as variables."""
    lists = {f"VOICELINK_MONITOR_{key.upper()}": json.dumps(value) for key, value in values.items()}
    return load_config(None, KEY | lists | (environ or {}), now=NOW)


@pytest.mark.parametrize(
    ("environ", "here", "expected"),
    [
        ({"VOICELINK_MONITOR_CONFIG": "/named.toml"}, True, "/named.toml"),
        ({}, True, "config.toml"),
        ({}, False, "system.toml"),
    ],
    ids=["named, though missing", "in the directory", "of the system"],
)
def test_file_is_found_in_order(tmp_path: Path, environ: dict[str, str], here: bool, expected: str) -> None:
    """The variable wins over the directory, the directory over the system."""
    system = tmp_path / "system.toml"
    system.touch()
    if here:
        (tmp_path / "config.toml").touch()
    found = find_config_file(environ, tmp_path, system)
    assert found is not None
    assert found in (Path(expected), tmp_path / expected)


@pytest.mark.parametrize(
    "given", [UUID.upper(), UUID.replace("-", "")], ids=["in capitals", "without hyphens"]
)
def test_connection_ids_are_written_the_provider_s_way(given: str) -> None:
    """However a UUID is written, it is sent and compared in one form."""
    account = {"name": "a", "api_key": "1", "connections": [{"name": "x", "id": given}]}
    assert load({"accounts": [account]}).accounts[0].connections[0].id == UUID


def test_secrets_that_are_not_needed_need_no_files(tmp_path: Path) -> None:
    """Two accounts, receivers and the heartbeat do without theirs, which are no secret of the config file."""
    absent = {name: str(tmp_path / name) for name in "abcdef"}
    am = {"name": "am", "type": "alertmanager", "urls": ["http://127.0.0.1:9"]}
    given = {
        "accounts": [{"name": name, "api_key_file": absent[name]} for name in "ab"],
        "receivers": [
            am | {"basic_auth": {"username": "u", "password_file": absent["c"]}},
            {"name": "hook", "type": "webhook", "url_file": absent["d"], "secrets_file": absent["e"]},
        ],
    }
    lists = {f"VOICELINK_MONITOR_{key.upper()}": json.dumps(value) for key, value in given.items()}
    heartbeat = {"VOICELINK_MONITOR_HEARTBEAT__URL_FILE": absent["f"]}
    config = load_config(None, lists | heartbeat, now=NOW, secrets=False)
    assert [account.name for account in config.accounts] == ["a", "b"]
    assert [receiver.name for receiver in config.receivers] == ["am", "hook"]
    assert not config.warnings
    with pytest.raises(ConfigError) as caught:
        load_config(None, lists | heartbeat, now=NOW)
    assert len(caught.value.problems) == len(absent)
    with pytest.raises(ConfigError, match=r"store\.url_file"):
        load_config(None, KEY | {"VOICELINK_MONITOR_STORE__URL_FILE": absent["a"]}, now=NOW, secrets=False)


def test_no_file_is_found_where_none_is(tmp_path: Path) -> None:
    """Without any file the environment stands alone."""
    assert find_config_file({}, tmp_path, tmp_path / "none.toml") is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'a = 1\nb = "secret', r"config.toml: line 2, column 12: not valid TOML|config.toml: at the end"),
        (b"a = 1\nb = = 2\n", "config.toml: line 2, column 5: not valid TOML"),
        (b"a = [", "config.toml: at the end of the file: not valid TOML"),
        (b"a = \xff", "config.toml: the config file is not UTF-8 text"),
        (
            b"a = " + b"[" * 5000,
            "config.toml: not valid TOML: a value is out of bounds, or nested too deeply",
        ),
    ],
    ids=["open text", "two signs", "open list", "not utf-8", "too deep"],
)
def test_broken_file_is_told_by_place(tmp_path: Path, content: bytes, expected: str) -> None:
    """File, line and column, and nothing of the line."""
    file = tmp_path / "config.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=expected) as error:
        load_config(file, {})
    assert "secret" not in str(error.value).replace(str(file), "")


def test_missing_file_is_told(tmp_path: Path) -> None:
    """A named file that is missing, or no file, is an error."""
    with pytest.raises(ConfigError, match=r"none.toml: the config file cannot be read: No such file"):
        load_config(tmp_path / "none.toml", KEY)
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory"):
        load_config(tmp_path, KEY)


def test_key_alone_is_enough() -> None:
    """One variable makes one account with one connection, and defaults for the rest."""
    config = load_config(None, KEY, now=NOW)
    (account,) = config.accounts
    (connection,) = account.connections
    assert (account.name, connection.name, connection.id) == ("default", "default", None)
    assert account.secret.reveal() == "rg_live_1"
    assert connection.identity == "account:default"
    assert config.schedule.timing(connection).interval == timedelta(seconds=60)
    assert config.web.listen == Listen("127.0.0.1", 8790)
    assert config.store.secret.reveal() == "sqlite:///voicelink-monitor.db"
    assert config.warnings == []


def test_key_file_alone_is_enough(tmp_path: Path) -> None:
    """The key's twin works the same."""
    file = tmp_path / "key"
    file.write_text("rg_live_2\n")
    config = load_config(None, {"VOICELINK_API_KEY_FILE": str(file)})
    assert config.accounts[0].secret.reveal() == "rg_live_2"
    assert config.accounts[0].secret.file == file


def test_problem_of_the_key_names_its_variable() -> None:
    """Who set one variable reads its name."""
    with pytest.raises(
        ConfigError, match=r"accounts\[0\].api_key \(from VOICELINK_API_KEY\): a key has only"
    ):
        load_config(None, {"VOICELINK_API_KEY": "a b"})


@pytest.mark.parametrize("variable", ["VOICELINK_API_KEY", "VOICELINK_API_KEY_FILE"])
@pytest.mark.parametrize("in_file", [True, False], ids=["file", "environment"])
def test_key_is_ignored_where_accounts_are_configured(write: Write, variable: str, in_file: bool) -> None:
    """The variable is for those without accounts; who sets both is told which one wins."""
    accounts = '[{"name": "acme", "api_key": "k"}]'
    file = write('[[accounts]]\nname = "acme"\napi_key = "k"\n') if in_file else None
    environ = {variable: "rg_live_1"} | ({} if in_file else {"VOICELINK_MONITOR_ACCOUNTS": accounts})
    config = load_config(file, environ)
    assert [account.name for account in config.accounts] == ["acme"]
    other = "[[accounts]] in the config file" if in_file else "VOICELINK_MONITOR_ACCOUNTS"
    [warning] = config.warnings
    assert warning.startswith(f"{variable}: not used, because {other} gives the API keys")


def test_key_and_its_file_are_not_both_given(tmp_path: Path) -> None:
    """Twins exclude each other in the environment as they do in the file; an empty one counts as absent."""
    file = tmp_path / "key"
    file.write_text("rg_live_2")
    both = {"VOICELINK_API_KEY": "rg_live_1", "VOICELINK_API_KEY_FILE": str(file)}
    with pytest.raises(ConfigError, match=r"VOICELINK_API_KEY: VOICELINK_API_KEY_FILE is set too"):
        load_config(None, both)
    assert load_config(None, both | {"VOICELINK_API_KEY": " "}).accounts[0].secret.reveal() == "rg_live_2"


@pytest.mark.parametrize("twin", ["store.url", "heartbeat.url"])
def test_twins_of_the_environment_are_not_both_given(tmp_path: Path, twin: str) -> None:
    """Both variables are named by the error, or one of them and the rule."""
    file = tmp_path / "url"
    file.write_text("https://h")
    name = f"VOICELINK_MONITOR_{twin.replace('.', '__').upper()}"
    value = "https://h" if twin == "heartbeat.url" else "sqlite:///x.db"
    file.write_text(value)
    with pytest.raises(
        ConfigError, match=rf"{twin}_file \(from {name}_FILE\): give url or url_file, not both"
    ):
        load({}, {name: value, f"{name}_FILE": str(file)})


@pytest.mark.parametrize(
    ("name", "value"),
    [("SCHEDULE__INTERVAL", "30s\n"), ("SCHEDULE__INTERVAL", "\ufeff30s\r\n"), ("API__CA_FILE", " \r")],
    ids=["line end", "mark and windows line end", "blank"],
)
def test_white_space_around_a_variable_is_dropped(name: str, value: str) -> None:
    """Files of variables that were edited elsewhere leave such things behind."""
    config = load({}, {f"VOICELINK_MONITOR_{name}": value})
    assert config.schedule.interval == timedelta(seconds=30 if "30s" in value else 60)
    assert config.api.ca_file is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOG__LEVEL", '"info"'),
        ("INSTANCE", "'prod'"),
        ("ALERTS__LABELS__TEAM", '"voice"'),
        ("WEB__ENABLE_LIFECYCLE", '"true"'),
        ("RECEIVERS", "'[]'"),
    ],
)
def test_quotes_around_a_variable_are_told(name: str, value: str) -> None:
    """`docker --env-file` keeps them, a shell does not."""
    with pytest.raises(ConfigError, match=rf"VOICELINK_MONITOR_{name}: its value is in quotes"):
        load({}, {f"VOICELINK_MONITOR_{name}": value})


def test_variable_set_twice_is_told() -> None:
    """Names are compared without case, so two may mean one key."""
    twice = {"VOICELINK_MONITOR_LOG__LEVEL": "info", "voicelink_monitor_log__level": "debug"}
    with pytest.raises(ConfigError, match=r"voicelink_monitor_log__level: VOICELINK_MONITOR_LOG__LEVEL sets"):
        load({}, twice)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("LOG_LEVEL", "VOICELINK_MONITOR_LOG__LEVEL"),
        ("WEB_BASIC_AUTH_USERS", "VOICELINK_MONITOR_WEB__BASIC_AUTH_USERS"),
        ("API_KEY", "VOICELINK_API_KEY"),
    ],
)
def test_variable_with_one_underscore_is_questioned(name: str, meant: str) -> None:
    """It may be another program's, so it is no error; but it sets nothing."""
    assert load({}, {f"VOICELINK_MONITOR_{name}": "debug"}).warnings == [
        f"VOICELINK_MONITOR_{name}: it sets nothing; did you mean {meant}?"
    ]


@pytest.mark.parametrize("value", ["{}/none.toml", " {}/none.toml\n"], ids=["plain", "line end"])
def test_variable_that_names_a_missing_config_is_told(tmp_path: Path, value: str) -> None:
    """The message names the file, and the variable that asked for it."""
    environ = {"VOICELINK_MONITOR_CONFIG": value.format(tmp_path)}
    named = find_config_file(environ, tmp_path)
    assert named == tmp_path / "none.toml"
    with pytest.raises(
        ConfigError, match=r"none.toml: the config file .*No such file .*\(VOICELINK_MONITOR_CONFIG names"
    ):
        load_config(named, KEY | environ)


def test_connection_without_id_is_its_account(write: Write) -> None:
    """The identity follows the account, or the id, never the name."""
    accounts = [
        {"name": "a", "api_key": "1", "connections": [{"name": "x"}]},
        {"name": "b", "api_key": "2", "connections": [{"name": "y", "id": UUID.upper()}]},
        {"name": "c", "api_key": "3", "discover": True},
    ]
    config = load({"accounts": accounts})
    assert [[each.identity for each in account.connections] for account in config.accounts] == [
        ["account:a"],
        [UUID],
        [],
    ]


def test_environment_beats_the_file(write: Write) -> None:
    """A variable replaces one key, a list of the environment the whole list."""
    file = write(
        '[api]\ntimeout = "1s"\nbase_url = "http://127.0.0.1/x/"\n[[accounts]]\nname = "f"\napi_key = "k"\n'
    )
    environ = {
        "voicelink_monitor_api__timeout": "2s",
        "VOICELINK_MONITOR_WEB__ENABLE_LIFECYCLE": "true",
        "VOICELINK_MONITOR_GUARD__RATIO": "0.25",
        "VOICELINK_MONITOR_DRIFT__CONFIRM_SYNCS": "1",
        "VOICELINK_MONITOR_INSTANCE": "1",
        "VOICELINK_MONITOR_ACCOUNTS": '[{"name": "e", "api_key": "k"}]',
    }
    config = load_config(file, environ, now=NOW)
    assert (config.api.timeout, config.api.base_url) == (timedelta(seconds=2), "http://127.0.0.1/x")
    assert (config.web.enable_lifecycle, config.guard.ratio, config.drift.confirm_syncs) == (True, 0.25, 1)
    assert (config.instance, config.accounts[0].name) == ("1", "e")


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ('[schedule]\ninterval = "5s"', {"VOICELINK_MONITOR_SCHEDULE__CRON": "* * * * *"}),
        ('[schedule]\ncron = "1 * * * *"', {"VOICELINK_MONITOR_SCHEDULE__INTERVAL": "7s"}),
        ('[heartbeat]\nurl_file = "/no/such"', {"VOICELINK_MONITOR_HEARTBEAT__URL": "https://h"}),
        ('[store]\nurl_file = "/no/such"', {"VOICELINK_MONITOR_STORE__URL": "postgresql://h/d"}),
    ],
)
def test_environment_beats_the_files_other_way_to_say_it(
    write: Write, text: str, environ: dict[str, str]
) -> None:
    """A variable also replaces the key that excludes it."""
    file = write(text + '\n[[accounts]]\nname = "a"\napi_key = "k"\nrequests_per_minute = 60\n')
    config = load_config(file, environ, now=NOW)
    assert (config.schedule.cron is None) != ("VOICELINK_MONITOR_SCHEDULE__CRON" in environ)
    [variable] = environ
    [warning] = config.warnings
    assert ": not used, because " in warning
    assert variable in warning


def test_rivals_are_the_keys_that_exclude_each_other() -> None:
    """They are read off the models, so that a pair that is added is known."""
    assert {("schedule", ("cron", "interval")), ("store", ("url", "url_file"))} < set(rivals(Config))


def test_maps_are_given_by_name_or_whole() -> None:
    """A map's entry is a variable of its own; names are lower case, or those of the JSON."""
    environ = {
        "VOICELINK_MONITOR_ALERTS__LABELS__TEAM": "voice",
        "VOICELINK_MONITOR_ALERTS__LABELS": '{"Zone": "eu"}',
        "VOICELINK_MONITOR_SEVERITY__NO_BOT": "info",
        "VOICELINK_MONITOR_SEVERITY__A__B": "info",
        "VOICELINK_MONITOR_SEVERITY__DEFAULT": "critical",
    }
    config = load({}, environ)
    assert config.alerts.labels == {"team": "voice", "Zone": "eu"}
    assert config.severity.default == "critical"
    assert config.severity.codes == {
        "no_bot": "info",
        "routing_missing": "critical",
        "no_vocobase_agent": "critical",
        "a__b": "info",
    }


@pytest.mark.parametrize("name", ["PORT", "SERVICE_HOST", "PORT_8790_TCP_ADDR", "API", "CONFIG"])
def test_variables_of_others_are_left_alone(name: str) -> None:
    """What Kubernetes puts beside ours changes nothing."""
    assert load({}, {f"VOICELINK_MONITOR_{name}": "tcp://10.0.0.1:80"}).instance == "voicelink-monitor"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("API__TIMOUT", "no such key; did you mean VOICELINK_MONITOR_API__TIMEOUT?"),
        ("APY__TIMEOUT", "no such key; did you mean VOICELINK_MONITOR_API__TIMEOUT?"),
        ("ACCOUNTS__0__NAME", "a list is given whole, as JSON, in VOICELINK_MONITOR_ACCOUNTS"),
        ("ALERTS__LABELS__", "no such key"),
        ("_INSTANCE", "no such key; did you mean VOICELINK_MONITOR_INSTANCE?"),
        ("ALERTS__LABELS", 'this key is given whole, as valid JSON like {"key": "value"}'),
        ("RECEIVERS", "this key is given whole, as valid JSON like […]"),
    ],
)
def test_variable_of_no_key_is_an_error(name: str, expected: str) -> None:
    """A misspelt variable is told, with the nearest there is."""
    with pytest.raises(ConfigError) as error:
        load({}, {f"VOICELINK_MONITOR_{name}": "1"})
    assert f"VOICELINK_MONITOR_{name}: {expected}" in str(error.value)


def test_empty_text_unsets_an_optional_key(write: Write) -> None:
    """A variable set to nothing takes the file's value away."""
    file = write('[heartbeat]\nurl_file = "/no/such"\n[alerts]\nexternal_url = "http://x"\n')
    environ = {"VOICELINK_MONITOR_HEARTBEAT__URL_FILE": "", "VOICELINK_MONITOR_ALERTS__EXTERNAL_URL": ""}
    config = load_config(file, KEY | environ)
    assert config.heartbeat.secret is None
    assert config.alerts.external_url is None
    assert config.warnings == [
        "alerts.external_url: not used, because VOICELINK_MONITOR_ALERTS__EXTERNAL_URL is set to nothing",
        "heartbeat.url_file: not used, because VOICELINK_MONITOR_HEARTBEAT__URL_FILE is set to nothing",
    ]


@pytest.mark.parametrize(("url", "warned"), [("postgresql://db/x", True), ("sqlite:////data/a.db", False)])
def test_variable_that_replaces_the_store_is_told(url: str, warned: bool, write: Write) -> None:
    """The image sets its own store: one that the file names is not left out silently."""
    file = write(f'[store]\nurl = "{url}"\n')
    variable = "VOICELINK_MONITOR_STORE__URL"
    config = load_config(file, KEY | {variable: "sqlite:////data/a.db"})
    expected = [f"store.url: not used, because {variable} sets another"]
    assert config.warnings == (expected if warned else [])


def test_empty_variable_leaves_the_other_way_to_say_it_alone(write: Write) -> None:
    """A variable set to nothing does not replace the key that excludes it."""
    file = write('[schedule]\ninterval = "5m"\n')
    config = load_config(file, KEY | {"VOICELINK_MONITOR_SCHEDULE__CRON": ""})
    assert config.schedule.interval == timedelta(minutes=5)


@pytest.mark.parametrize(
    ("until", "expected"),
    [
        ("2026-12-31", datetime(2027, 1, 1, tzinfo=UTC)),
        ("2026-12-31T18:00:00+05:30", datetime(2026, 12, 31, 12, 30, tzinfo=UTC)),
        ("9999-12-31", datetime.max.replace(tzinfo=UTC)),
        ("2026-12-31T18:00:00Z", datetime(2026, 12, 31, 18, tzinfo=UTC)),
    ],
)
def test_rule_holds_through_its_last_day(until: str, expected: datetime) -> None:
    """A date lasts until the midnight after it, UTC; a time until itself."""
    config = load({"ignore": [{"state": "X", "reason": "r", "until": until}]})
    assert config.ignore[0].until == expected


def test_window_without_offset_is_in_its_time_zone() -> None:
    """Times of a window are those of the people there; the schedule's zone is the default."""
    windows = [
        {"start": "2026-06-01T00:00:00", "end": "2026-06-01T01:00:00+00:00"},
        {"start": "2026-06-01T00:00:00", "end": "2026-06-01T01:00:00", "timezone": "Asia/Kolkata"},
    ]
    config = load({"maintenance": windows}, {"VOICELINK_MONITOR_SCHEDULE__TIMEZONE": "Europe/Berlin"})
    first, second = config.maintenance
    assert (first.start, first.end) == (
        datetime(2026, 5, 31, 22, tzinfo=UTC),
        datetime(2026, 6, 1, 1, tzinfo=UTC),
    )
    assert second.start == datetime(2026, 5, 31, 18, 30, tzinfo=UTC)
    assert (first.connections, first.timezone) == (("*",), "Europe/Berlin")


@pytest.mark.parametrize(
    ("stale_after", "interval", "expected"),
    [("auto", 60, 300), ("auto", 600, 1800), ("42s", 600, 42)],
)
def test_stale_after_follows_the_interval(stale_after: str, interval: int, expected: int) -> None:
    """`auto` is three intervals, at least five minutes; else what is written."""
    config = load({}, {"VOICELINK_MONITOR_DRIFT__STALE_AFTER": stale_after})
    assert config.drift.stale_after_for(timedelta(seconds=interval)) == timedelta(seconds=expected)


def test_connection_has_its_own_times() -> None:
    """An override of either kind replaces the schedule, whatever its kind."""
    accounts = [
        {
            "name": "a",
            "api_key": "k",
            "requests_per_minute": 60,
            "connections": [
                {"name": "x", "id": UUID, "interval": "5s"},
                {"name": "y", "id": UUID.replace("9", "8"), "cron": "0 * * * *"},
                {"name": "z", "id": UUID.replace("9", "7")},
            ],
        }
    ]
    environ = {
        "VOICELINK_MONITOR_SCHEDULE__CRON": "*/5 * * * *",
        "VOICELINK_MONITOR_SCHEDULE__TIMEZONE": "Asia/Kolkata",
    }
    config = load({"accounts": accounts}, environ)
    timings = [config.schedule.timing(connection) for connection in config.accounts[0].connections]
    assert [timing.cron for timing in timings] == [None, "0 * * * *", "*/5 * * * *"]
    assert timings[0].interval == timedelta(seconds=5)
    assert timings[2].timezone == "Asia/Kolkata"


def test_receivers_have_their_defaults() -> None:
    """What is not said of a receiver is as the contract has it."""
    receiver = load(
        {"receivers": [{"name": "am", "type": "alertmanager", "urls": ["http://am:9093/"]}]}
    ).receivers[0]
    assert isinstance(receiver, AlertmanagerConfig)
    assert receiver.urls == (Address("http://am:9093"),)
    assert (receiver.resend_interval, receiver.expire_after) == (timedelta(minutes=1), timedelta(minutes=30))
    assert (receiver.min_severity, receiver.connections, receiver.send_resolved) == ("info", ("*",), True)
    assert receiver.repeat_interval is None
    assert receiver.timeout == timedelta(seconds=10)


@pytest.mark.parametrize(
    ("listen", "expected"), [("[::1]:80", Listen("::1", 80)), ("localhost:0", Listen("localhost", 0))]
)
def test_listen_is_host_and_port(listen: str, expected: Listen) -> None:
    """IPv6 stands in brackets, as it is written again."""
    address = load({}, {"VOICELINK_MONITOR_WEB__LISTEN": listen}).web.listen
    assert address == expected
    assert str(address) == listen


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:p@h:1/d?password=x", f"postgresql://{STARS}:{STARS}@h:1/d"),
        ("postgresql://h/d", "postgresql://h/d"),
        ("postgresql://h/d?user=a@b", "postgresql://…"),
        ("sqlite:////var/lib/m.db", "sqlite:////var/lib/m.db"),
        ("sqlite:///m.db", "sqlite:///m.db"),
    ],
)
def test_database_is_shown_without_credentials(url: str, expected: str) -> None:
    """The safe form has no user, password or option."""
    config = load({}, {"VOICELINK_MONITOR_STORE__URL": url})
    assert config.store.safe_url == expected
    assert config.public()["store"]["url"] == expected
    assert config.store.is_sqlite == url.startswith("sqlite")


def test_questionable_things_are_warned_about() -> None:
    """What is over, or names nothing, or is unencrypted, is valid but said."""
    values: dict[str, Any] = {
        "ignore": [{"connection": "nobody-*", "reason": "r", "until": "2026-03-01"}],
        "maintenance": [{"start": "2026-01-01T00:00:00", "end": "2026-01-02T00:00:00"}],
        "receivers": [{"name": "r", "type": "webhook", "url": "http://h", "connections": ["other"]}],
    }
    config = load(values, {"VOICELINK_MONITOR_API__BASE_URL": "http://localhost.example.com"})
    assert [warning.split(":")[0] for warning in config.warnings] == [
        "ignore[0]",
        "maintenance[0]",
        "api.base_url",
        "ignore[0].connection",
        "receivers[0].connections",
    ]


def test_config_is_frozen() -> None:
    """Nobody changes settings while they are in use."""
    config = load({})
    with pytest.raises(ValueError, match="frozen"):
        config.api.timeout = timedelta()  # type: ignore[misc]  # that is the point


SECRETS = [
    ("pagerduty", {}, "routing_key", "secret", "R0UTING"),
    ("slack", {}, "url", "secret", "https://hooks.example.com/T/B"),
    ("apprise", {}, "url", "secret", "mailtos://u:p@h"),
    ("webhook", {}, "url", "address", "https://h/hook"),
    ("alertmanager", {"urls": ["http://am"]}, "bearer_token", "bearer", "t0ken"),
]


@pytest.mark.parametrize(
    ("kind", "keys", "key", "attribute", "value"), SECRETS, ids=[case[0] for case in SECRETS]
)
def test_secret_of_a_receiver_is_a_value_or_a_file(
    tmp_path: Path, kind: str, keys: dict[str, Any], key: str, attribute: str, value: str
) -> None:
    """Both twins give the same secret, in one attribute."""
    file = tmp_path / "secret"
    file.write_text(value + "\n")
    both = [
        {"name": "v", "type": kind, key: value, **keys},
        {"name": "f", "type": kind, f"{key}_file": str(file), **keys},
    ]
    given = [getattr(receiver, attribute) for receiver in load({"receivers": both}).receivers]
    assert [secret.reveal() for secret in given] == [value, value]
    assert [secret.file for secret in given] == [None, file]


def test_basic_auth_password_is_a_value_or_a_file(tmp_path: Path) -> None:
    """The password has a twin like every secret, also inside a receiver."""
    file = tmp_path / "password"
    file.write_text("pass word")
    receiver: dict[str, Any] = {"name": "r", "type": "alertmanager", "urls": ["http://am"]}
    receiver["basic_auth"] = {"username": "u", "password_file": str(file)}
    (loaded,) = load({"receivers": [receiver]}).receivers
    assert isinstance(loaded, AlertmanagerConfig)
    assert loaded.basic_auth is not None
    assert loaded.basic_auth.secret.reveal() == "pass word"


def test_bad_secret_in_a_file_is_told(tmp_path: Path) -> None:
    """What a file holds is checked like the value itself."""
    file = tmp_path / "key"
    file.write_text("two words")
    with pytest.raises(ConfigError, match=r"api_key_file .*: a key has only printable") as error:
        load({"accounts": [{"name": "a", "api_key_file": str(file)}]})
    assert "two words" not in str(error.value)


def test_heartbeat_is_read_from_its_file(tmp_path: Path) -> None:
    """The address is a secret with a twin."""
    file = tmp_path / "heartbeat"
    file.write_text("https://hc.example.com/x")
    config = load({}, {"VOICELINK_MONITOR_HEARTBEAT__URL_FILE": str(file)})
    assert config.heartbeat.secret is not None
    assert config.heartbeat.secret.reveal() == "https://hc.example.com/x"


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ('[schedule]\ncron = "0 2 13 * fri"', "schedule.cron"),
        (
            '[[maintenance]]\nconnections = ["*"]\ncron = "0 2 13 * fri"\nduration = "2h"',
            "maintenance[0].cron",
        ),
    ],
)
def test_cron_that_restricts_both_days_is_questioned(tmp_path: Path, table: str, key: str) -> None:
    """It fires on days that match either one, as in crontab: valid, and probably not meant."""
    file = tmp_path / "config.toml"
    file.write_text(f'{table}\n[[accounts]]\nname = "acme"\napi_key = "rg_live_0123456789"\n')
    warnings = [each for each in load_config(file, {}).warnings if each.startswith(key)]
    assert len(warnings) == 1
    assert "weekday" in warnings[0]
