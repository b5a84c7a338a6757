"""What a user reads about a config that cannot be used."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.config import load_config
from monitor.errors import ConfigError

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
ACCOUNT = '[[accounts]]\nname = "acme"\napi_key = "k1"\n'
RECEIVER = ACCOUNT + '[[receivers]]\nname = "r"\n'
MANAGER = RECEIVER + 'type = "alertmanager"\nurls = ["http://am"]\n'
HOOK = RECEIVER + 'type = "webhook"\nurl = "http://h"\n'
IGNORE = ACCOUNT + '[[ignore]]\nreason = "r"\n'
WINDOW = ACCOUNT + "[[maintenance]]\n"
UUID = "9b7f1c44-c87f-4f0c-9124-3c802a9c1a20"

CASES = {
    "unknown key": ("[api]\ntimout = 1", "api.timout: unknown key; did you mean timeout?"),
    "unknown section": ("[shedule]", "shedule: unknown key; did you mean schedule?"),
    "section in capitals": ('[API]\ntimeout = "1s"', "API: unknown key; did you mean api?"),
    "unknown key unlike any": ("[log]\nzzz = 1", "log.zzz: unknown key; known here: format, level"),
    "unknown key in a list": (
        ACCOUNT + '[[accounts.connections]]\nname = "a"\n[[accounts.connections]]\nnmae = "b"',
        "accounts[0].connections[1].nmae: unknown key; did you mean name?",
    ),
    "unknown key of a receiver": (
        HOOK + "secrt = 1",
        "receivers[0].secrt: unknown key; did you mean secret?",
    ),
    "private word as key": ("_env_file = 1", "_env_file: unknown key"),
    "misspelt secret": (
        '[[accounts]]\nname = "a"\napi_kye = "k"',
        "accounts[0].api_kye: unknown key; did you mean api_key?",
    ),
    "no duration": (
        '[schedule]\ninterval = "soon"',
        'schedule.interval: not a duration; write it like "15s" or "5m"',
    ),
    "duration without unit": (
        "[schedule]\ninterval = 60",
        'schedule.interval: not a duration; write it like "15s" or "5m"',
    ),
    "interval too short": ('[schedule]\ninterval = "999ms"', "schedule.interval: must be at least 1s"),
    "recheck too short": (
        '[schedule]\nrecheck_interval = "99ms"',
        "schedule.recheck_interval: must be at least 100ms",
    ),
    "no size": (
        '[api]\nmax_response_size = "64"',
        'api.max_response_size: not a size; write it like "64MiB"',
    ),
    "zero size": ('[api]\nmax_response_size = "0B"', "api.max_response_size: must be at least 1B"),
    "no word": ('[drift]\nstale_after = "never"', 'or "auto"'),
    "reminder": (
        HOOK + 'repeat_interval = "no"',
        (
            'receivers[0].repeat_interval: not a duration; write it like "15s" or "5m" (units: ms s m h d); '
            'or "off"'
        ),
    ),
    "number as text": (
        '[drift]\nconfirm_syncs = "2"',
        "drift.confirm_syncs: expected a whole number, like 30",
    ),
    "text as number": ("instance = 1", "instance: expected text in quotes"),
    "flag as text": ('[metrics]\nnumbers = "yes"', "metrics.numbers: expected true or false"),
    "fraction as text": ('[guard]\nratio = "half"', "guard.ratio: expected a number, like 0.5"),
    "not a number": ("[guard]\nratio = nan", "guard.ratio: "),
    "too low": ("[guard]\nratio = 0.0", "guard.ratio: must be more than 0"),
    "too high": ("[guard]\nratio = 1.1", "guard.ratio: must be at most 1"),
    "zero": ("[drift]\nresolve_syncs = 0", "drift.resolve_syncs: must be at least 1"),
    "choice": ('[log]\nformat = "xml"', "log.format: expected one of 'json' or 'console'"),
    "section as value": ("api = 3", "api: expected a table of keys and values"),
    "table for list of tables": (
        '[accounts]\nname = "a"',
        "accounts: expected a list of tables, like [[accounts]]",
    ),
    "table for inner list": (ACCOUNT + '[accounts.connections]\nname = "a"', "like [[accounts.connections]]"),
    "text for list": (
        MANAGER.replace('["http://am"]', '"http://am"'),
        'receivers[0].urls: expected a list, like ["…"]',
    ),
    "empty list": (MANAGER.replace('"http://am"', ""), "receivers[0].urls: must not be empty"),
    "severity": (
        '[severity]\nNO_BOT = "fatal"',
        "severity.NO_BOT: expected one of 'critical', 'warning' or 'info'",
    ),
    "cron and interval": (
        '[schedule]\ninterval = "1m"\ncron = "* * * * *"',
        "schedule.interval: give cron or interval, not both",
    ),
    "cron by number": ('[schedule]\ncron = "0 2 * * 1"', "schedule.cron: write weekdays by name"),
    "cron of four fields": (
        '[schedule]\ncron = "0 2 * *"',
        "schedule.cron: a cron expression has five fields",
    ),
    "cron out of range": ('[schedule]\ncron = "61 2 * * *"', "schedule.cron: not a cron expression"),
    "cron that never comes": (
        '[schedule]\ncron = "0 0 30 feb *"',
        "schedule.cron: this cron expression names a day that never comes",
    ),
    "time zone": ('[schedule]\ntimezone = "Mars"', "schedule.timezone: the time zone is unknown"),
    "no account": ("[api]", "no account: add [[accounts]] to the config file, or set VOICELINK_API_KEY"),
    "empty accounts": ("accounts = []", "no account: add [[accounts]]"),
    "no key": ('[[accounts]]\nname = "a"', "accounts[0].api_key_file: missing: give api_key or api_key_file"),
    "both keys": (
        ACCOUNT + 'api_key_file = "/dev/null"',
        "accounts[0].api_key_file: secret file /dev/null cannot be read: it is a pipe or a device",
    ),
    "no secret file": (
        '[[accounts]]\nname = "a"\napi_key_file = "/no/such"',
        "accounts[0].api_key_file: secret file /no/such cannot be read: No such file",
    ),
    "key for file name": (
        '[[accounts]]\nname = "a"\napi_key_file = "rg_live_x"',
        "accounts[0].api_key_file: there is no such secret file",
    ),
    "key with a space": (
        '[[accounts]]\nname = "a"\napi_key = "a b"',
        "accounts[0].api_key: a key has only printable ASCII",
    ),
    "key for name": (
        '[[accounts]]\nname = "rg_live_x"\napi_key = "a"',
        "accounts[0].name: this looks like an API key",
    ),
    "name with a slash": (
        '[[accounts]]\nname = "a/b"\napi_key = "a"',
        "accounts[0].name: a name has at most",
    ),
    "account twice": (
        ACCOUNT + ACCOUNT.replace("k1", "k2"),
        "accounts[1].name: the same as accounts[0].name; account names",
    ),
    "key twice": (
        ACCOUNT + ACCOUNT.replace("acme", "b"),
        "accounts[1].api_key: the same as accounts[0].api_key",
    ),
    "connection twice": (
        ACCOUNT + '[[accounts.connections]]\nname = "b"\n' + ACCOUNT.replace("acme", "b").replace("k1", "k2"),
        "accounts[1].name: the same as accounts[0].connections[0].name; connection names",
    ),
    "id twice": (
        "".join(
            ACCOUNT.replace("acme", f"a{n}").replace("k1", f"k{n}")
            + f'[[accounts.connections]]\nname = "c{n}"\nid = "{uuid}"\n'
            for n, uuid in enumerate((UUID, UUID.upper()))
        ),
        "accounts[1].connections[0].id: the same as accounts[0].connections[0].id",
    ),
    "no id among several": (
        ACCOUNT + '[[accounts.connections]]\nname = "a"\n[[accounts.connections]]\nname = "b"',
        (
            "accounts[0].connections: an account with several connections needs the id of each: "
            "connections[0], connections[1]"
        ),
    ),
    **{
        f"id: {what}": (
            ACCOUNT + f'[[accounts.connections]]\nname = "a"\nid = "{given}"',
            "accounts[0].connections[0].id: not a UUID",
        )
        for what, given in {
            "a name": "conn-7",
            "digits": "9",
            "cut short": UUID[:-1],
            "too long": f"{UUID}0",
        }.items()
    },
    "key as id": (
        ACCOUNT + '[[accounts.connections]]\nname = "a"\nid = "rg_live_9b7f1c44"',
        "accounts[0].connections[0].id: this looks like an API key",
    ),
    "over budget": (
        ACCOUNT + 'requests_per_minute = 5\n[[accounts.connections]]\nname = "a"\ninterval = "10s"',
        (
            "account acme: 1 connection every 10s needs 6 requests a minute, its budget is 5: "
            "raise requests_per_minute"
        ),
    ),
    "ignores all": (IGNORE, "ignore[0]: give at least one of connection, number, issue, state"),
    "no reason": (ACCOUNT + '[[ignore]]\nstate = "X"', "ignore[0].reason: missing"),
    "empty reason": (
        ACCOUNT + '[[ignore]]\nstate = "X"\nreason = " "',
        "ignore[0].reason: must not be empty",
    ),
    "no date": (
        IGNORE + 'state = "X"\nuntil = "soon"',
        "ignore[0].until: not a date; write it like 2026-12-31",
    ),
    "no offset": (
        IGNORE + 'state = "X"\nuntil = 2026-12-31T00:00:00',
        "ignore[0].until: a time needs an offset",
    ),
    "no window": (WINDOW, "maintenance[0]: give cron and duration, or start and end"),
    "cron alone": (
        WINDOW + 'cron = "0 2 * * sun"',
        "maintenance[0]: cron and duration go together: give both",
    ),
    "start alone": (
        WINDOW + "start = 2026-12-31T00:00:00",
        "maintenance[0]: start and end go together: give both",
    ),
    "both windows": (
        WINDOW + 'cron = "0 2 * * sun"\nstart = 2026-12-31T00:00:00',
        "maintenance[0].start: give cron or start, not both",
    ),
    "window backwards": (
        WINDOW + "start = 2026-12-31T00:00:00\nend = 2026-12-30T00:00:00",
        "maintenance[0]: `end` must be after `start`",
    ),
    "window by date": (
        WINDOW + "start = 2026-12-31\nend = 2027-01-01",
        "maintenance[0].start: a time is needed too",
    ),
    "label shadows": (
        '[alerts]\nlabels = { severity = "x" }',
        "alerts.labels: the label severity is one of the monitor's own",
    ),
    "label name": (
        '[alerts]\nlabels = { "a-b" = "x" }',
        "alerts.labels: a label's name has letters, digits and _ only",
    ),
    "receiver without type": (RECEIVER, "receivers[0].type: missing"),
    "receiver type": (
        RECEIVER + 'type = "pigeon"',
        "receivers[0].type: expected one of 'alertmanager', 'webhook'",
    ),
    "receiver named log": (
        HOOK.replace('"r"', '"log"'),
        'receivers[0].name: "log" is the receiver that always exists',
    ),
    "receiver twice": (
        HOOK + '[[receivers]]\nname = "r"\ntype = "slack"\nurl = "http://s"',
        "receivers[1].name: the same as receivers[0].name",
    ),
    "user info beside the API key": (
        '[api]\nbase_url = "http://u:p@h"',
        "api.base_url: a URL must not hold a user name or password here: it would take the place of the API",
    ),
    "user info in links": (
        '[alerts]\nexternal_url = "http://u:p@h"',
        "alerts.external_url: a URL must not hold a user name or password here: every alert would show it",
    ),
    "user info in runbook links": (
        '[alerts]\nrunbook_base_url = "http://u@h"',
        "alerts.runbook_base_url: a URL must not hold a user name or password here",
    ),
    "user info and bearer": (
        MANAGER.replace("//am", "//u:p@am") + 'bearer_token = "t"',
        "receivers[0].urls: give a user name in the URL or bearer_token, not both",
    ),
    "user info and basic": (
        MANAGER.replace("//am", "//u:p@am") + 'basic_auth = { username = "u", password = "p" }',
        "receivers[0].urls: give a user name in the URL or basic_auth, not both",
    ),
    "user info and header": (
        HOOK.replace("//", "//u:p@") + 'headers = { authorization = "x" }',
        "receivers[0].headers: give a user name in the URL or the header authorization, not both",
    ),
    "base with a query": (
        MANAGER.replace("//am", "//am/?a=b"),
        "receivers[0].urls[0]: paths are added to this URL, so it must not hold a ? or #",
    ),
    "database in memory": (
        '[store]\nurl = "sqlite:///:memory:"',
        'store.url: write it like "sqlite:///voicelink-monitor.db"',
    ),
    "database in memory behind a query": (
        '[store]\nurl = "sqlite:///:memory:?cache=shared"',
        "store.url: a SQLite URL takes no options",
    ),
    "database with an option that SQLite ignores": (
        '[store]\nurl = "sqlite:///m.db?mode=ro"',
        "store.url: a SQLite URL takes no options",
    ),
    "database host that is none": (
        '[store]\nurl = "postgresql://u:p@a..b/d"',
        "store.url: its host name has an empty label",
    ),
    "database password with a slash": (
        '[store]\nurl = "postgresql://u:p/w@h/d"',
        'store.url: special characters in the user and the password are written percent-encoded: "/" as %2F',
    ),
    "database parameter that is unknown": (
        '[store]\nurl = "postgres://h/d?pool=5"',
        'store.url: unknown parameter "pool"',
    ),
    "no webhook address": (
        HOOK.split("url =")[0],
        "receivers[0].url_file: missing: give url or url_file",
    ),
    "expires too soon": (
        MANAGER + 'expire_after = "2m"',
        "receivers[0].expire_after: must be more than twice resend_interval, which is 1m",
    ),
    "two ways in": (
        MANAGER + 'bearer_token = "t"\nbasic_auth = { username = "u", password = "p" }',
        "receivers[0].bearer_token_file: give basic_auth or bearer_token or bearer_token_file, not both",
    ),
    "no password": (
        MANAGER + 'basic_auth = { username = "u" }',
        "receivers[0].basic_auth.password_file: missing: give password or password_file",
    ),
    "webhook secret": (
        HOOK + 'secret = "whsec_!"',
        'receivers[0].secret: a webhook secret is base64 after "whsec_"',
    ),
    "our header": (
        HOOK + 'headers = { Webhook-Id = "x" }',
        "receivers[0].headers: these headers are set by the monitor",
    ),
    "header split": (
        HOOK + 'headers = { X-A = "x\\r\\ny" }',
        "receivers[0].headers.X-A: must not hold line breaks",
    ),
    "no routing key": (
        RECEIVER + 'type = "pagerduty"',
        "receivers[0].routing_key_file: missing: give routing_key or routing_key_file",
    ),
    "slack url": (RECEIVER + 'type = "slack"\nurl = "chat"', "receivers[0].url: not a URL"),
    "apprise url": (RECEIVER + 'type = "apprise"\nurl = "mail"', "receivers[0].url: not a URL"),
    "database": ('[store]\nurl = "mysql://h/d"', 'store.url: write it like "sqlite:///voicelink-monitor.db"'),
    "listen": ('[web]\nlisten = "8790"', 'web.listen: write it like "127.0.0.1:8790" or "[::1]:8790"'),
    "port": ('[web]\nlisten = "h:65536"', "web.listen: write it like"),
    "half of tls": ('[web]\ntls_cert_file = "/dev/null"', "web.tls_cert_file: it is not a file"),
    "user name": (
        '[web]\nbasic_auth_users = { "a:b" = "$2y$05$' + "a" * 53 + '" }',
        "web.basic_auth_users: a user's name must not be empty, and holds no colon",
    ),
    "too long": ('[schedule]\ninterval = "3651d"', "schedule.interval: must be at most 3650d"),
    "too many": (f"[drift]\nconfirm_syncs = {2**64}", "drift.confirm_syncs: must be at most 1000000000"),
    "line break in a key": ('[api]\n"a\\nb" = 1', "api.'a\\nb': unknown key"),
    "host with port": (
        '[web]\nallowed_hosts = ["monitor.example.com:8790"]',
        'web.allowed_hosts[0]: write it like "monitor.example.com", "*.example.com" or',
    ),
    "host with scheme": (
        '[web]\nallowed_hosts = ["a", "https://monitor"]',
        "web.allowed_hosts[1]: write it like",
    ),
    "host in brackets with port": ('[web]\nallowed_hosts = ["[::1]:80"]', "web.allowed_hosts[0]: write it"),
    "glob of hosts": ('[web]\nallowed_hosts = ["mon*"]', "web.allowed_hosts[0]: write it like"),
    "name of a proxy": (
        '[web]\ntrusted_proxies = ["10.0.0.1", "proxy.local"]',
        "web.trusted_proxies[1]: not an address or a network; write it like",
    ),
    "network of 33 bits": ('[web]\ntrusted_proxies = ["10.0.0.0/33"]', "web.trusted_proxies[0]: not an add"),
    "bits behind a network": (
        '[web]\ntrusted_proxies = ["10.0.0.1/8"]',
        "web.trusted_proxies[0]: not an add",
    ),
    "number of a proxy": ("[web]\ntrusted_proxies = [1]", "web.trusted_proxies[0]: not an address"),
    "empty operator": ('[web]\noperators = [""]', "web.operators[0]: must not be empty"),
    "plain password": (
        '[web]\nbasic_auth_users = { ann = "x" }',
        "web.basic_auth_users.ann: not a bcrypt hash",
    ),
    "two heartbeats": (
        '[heartbeat]\nurl = "http://h"\nurl_file = "{secret}"',
        "heartbeat.url_file: give url or url_file, not both",
    ),
    "tls without key": (
        '[web]\ntls_cert_file = "{secret}"',
        "web.tls_key_file: tls_cert_file and tls_key_file go together",
    ),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_problem_names_key_fault_and_remedy(
    write: Callable[[str], Path], tmp_path: Path, text: str, expected: str
) -> None:
    """Each fault is said by the key's path, with what to do."""
    secret = tmp_path / "secret"
    secret.write_text("http://heartbeat")
    with pytest.raises(ConfigError) as error:
        load_config(write(text.replace("{secret}", str(secret))), {}, now=NOW)
    assert any(expected in problem for problem in error.value.problems), error.value.problems


@pytest.mark.parametrize(
    ("table", "where"),
    [
        (MANAGER.replace("http://am", "am"), "receivers[0].urls[0]: "),
        (HOOK + 'secrets = ["%"]', "receivers[0].secrets[0]: "),
        (HOOK + 'connections = [""]', "receivers[0].connections[0]: "),
    ],
)
def test_list_whose_every_item_is_faulty_is_not_called_empty(
    write: Callable[[str], Path], table: str, where: str
) -> None:
    """One fault, one sentence."""
    with pytest.raises(ConfigError) as error:
        load_config(write(table), {}, now=NOW)
    [problem] = error.value.problems
    assert problem.startswith(where)


def test_problems_of_all_kinds_are_said_at_once(write: Callable[[str], Path]) -> None:
    """Unknown keys, wrong values, duplicates, budgets and variables come in one error."""
    text = (
        "[api]\ntimout = 1\n[alerts]\nmax_listed_numbers = 0\n"
        + ACCOUNT
        + 'requests_per_minute = 5\n[[accounts.connections]]\nname = "a"\ninterval = "1s"\n'
        + ACCOUNT
    )
    environ = {
        "VOICELINK_MONITOR_LOG__LEVL": "x",
        "VOICELINK_MONITOR_IGNORE": "[",
        "VOICELINK_MONITOR_DRIFT__REMOVED": "x",
    }
    with pytest.raises(ConfigError) as error:
        load_config(write(text), environ, now=NOW)
    said = "\n".join(error.value.problems)
    for part in (
        "api.timout",
        "alerts.max_listed_numbers",
        "needs 60 requests a minute, its budget is 5",
        "accounts[1].name: the same",
        "accounts[1].api_key: the same",
        "VOICELINK_MONITOR_LOG__LEVL: no such key; did you mean VOICELINK_MONITOR_LOG__LEVEL?",
        "VOICELINK_MONITOR_IGNORE: this key is given whole, as valid JSON",
        "drift.removed (from VOICELINK_MONITOR_DRIFT__REMOVED): expected one of",
    ):
        assert part in said
    assert error.value.source is not None
    assert error.value.source.endswith("config.toml")
