"""What a config lays open is a warning, where others really can get at it."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config import load_config
from monitor.config.exposure import exposed_in_file, is_cleartext
from tests.unit.config.test_mistakes import loaded

HASH = "$2y$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK"
ACCOUNTS = [{"name": "acme", "api_key": "rg_live_1"}]


def warned(values: dict[str, Any], folder: Path) -> list[str]:
    """Return what a config with these values is warned about."""
    return loaded({"accounts": ACCOUNTS} | values, folder).warnings


def receiver(kind: str, **values: Any) -> dict[str, Any]:
    """Return a config with one receiver."""
    return {"receivers": [{"name": "r", "type": kind} | values]}


LOGIN = {"basic_auth": {"username": "u", "password": "p4ss"}}
FAR = "http://far.example.com"

EXPOSED: dict[str, tuple[dict[str, Any], str]] = {
    "any address": ({"web": {"listen": "0.0.0.0:8790"}}, "web.listen: whoever reaches this address"),
    "any address of IPv6": ({"web": {"listen": "[::]:8790"}}, "web.listen: "),
    "another name": ({"web": {"listen": "localhost.example.com:8790"}}, "web.listen: "),
    "actions too": (
        {"web": {"listen": "0.0.0.0:8790", "enable_lifecycle": True}},
        "web.listen: whoever reaches this address can read phone numbers, reload and sync",
    ),
    "passwords": (
        {"web": {"listen": "0.0.0.0:8790", "basic_auth_users": {"u": HASH}}},
        "web.basic_auth_users: passwords travel unencrypted",
    ),
    "keys": ({"api": {"base_url": f"{FAR}/api"}}, "api.base_url: API keys travel unencrypted"),
    "keys to a false loopback": ({"api": {"base_url": "http://127.0.0.1.nip.io/api"}}, "api.base_url: "),
    "heartbeat": ({"heartbeat": {"url": f"{FAR}/s3cret"}}, "heartbeat.url: this URL"),
    "alertmanager with a password": (
        receiver("alertmanager", urls=["https://am", FAR], **LOGIN),
        "receivers[0].urls[1]: the password or token",
    ),
    "alertmanager with a token": (
        receiver("alertmanager", urls=[FAR], bearer_token="t0ken"),
        "receivers[0].urls[0]: the password or token",
    ),
    "alertmanager with a password in its URL": (
        receiver("alertmanager", urls=["http://u:p4ss@far.example.com"]),
        "receivers[0].urls[0]: the password or token",
    ),
    "webhook with a password in its URL": (
        receiver("webhook", url="http://u:p4ss@far.example.com"),
        "receivers[0].url: alerts and what authenticates them",
    ),
    "signed webhook": (
        receiver("webhook", url=FAR, secret="whsec_c2VjcmV0"),
        "receivers[0].url: alerts and what authenticates them",
    ),
    "webhook with a header": (
        receiver("webhook", url=FAR, headers={"Authorization": "Bearer t0ken"}),
        "receivers[0].url: alerts and what authenticates them",
    ),
    "webhook with a query": (receiver("webhook", url=f"{FAR}/?token=t0ken"), "receivers[0].url: alerts"),
    "pagerduty": (
        receiver("pagerduty", routing_key="R0UTING", url=f"{FAR}/v2/enqueue"),
        "receivers[0].url: the routing key",
    ),
    "slack": (receiver("slack", url=f"{FAR}/services/T/B/s3cret"), "receivers[0].url: this URL"),
    "apprise without verification": (
        receiver("apprise", url="jsons://u:p4ss@far.example.com/t0ken?verify=No"),
        "receivers[0].url: with verify=no, ",
    ),
    "whole Alertmanager address": (
        receiver("alertmanager", urls=["https://am/x/api/v2/alerts/"]),
        "receivers[0].urls[0]: leave out /api/v2/alerts",
    ),
    "Alertmanager's API": (
        receiver("alertmanager", urls=["https://am/api/v2"]),
        "receivers[0].urls[0]: leave out /api/v2",
    ),
    "unfilled variable": ({"instance": "prod-${REGION}"}, "instance: it holds a variable's name"),
    "quotes": ({"alerts": {"labels": {"team": "'voice'"}}}, "alerts.labels.team: it is in quotes"),
}
"""Values, and how the one warning begins."""


@pytest.mark.parametrize("case", EXPOSED)
def test_what_is_laid_open_is_told(case: str, tmp_path: Path) -> None:
    """One warning names the key and says what to do; it holds no secret."""
    values, beginning = EXPOSED[case]
    [warning] = warned(values, tmp_path)
    assert warning.startswith(beginning)
    for secret in ("s3cret", "t0ken", "p4ss", "R0UTING", "c2VjcmV0", HASH):
        assert secret not in warning


FINE: dict[str, dict[str, Any]] = {
    "loopback": {"web": {"listen": "127.0.0.1:8790"}},
    "loopback by name": {"web": {"listen": "localhost:8790"}},
    "loopback of IPv6": {"web": {"listen": "[::1]:8790"}},
    "passwords on loopback": {"web": {"basic_auth_users": {"u": HASH}}},
    "passwords behind a proxy": {
        "web": {
            "listen": "0.0.0.0:8790",
            "basic_auth_users": {"u": HASH},
            "trusted_proxies": ["10.0.0.0/8"],
        }
    },
    "keys on loopback": {"api": {"base_url": "http://[::1]:9000/api"}},
    "keys to a name below localhost": {"api": {"base_url": "http://sim.localhost:9000/api"}},
    "https": {"heartbeat": {"url": "https://hc.example.com/x"}},
    "alertmanager without login": receiver("alertmanager", urls=["http://alertmanager:9093/am"]),
    "webhook without secrets": receiver("webhook", url="http://bridge:8080/alerts"),
    "apprise with verification": receiver("apprise", url="jsons://far.example.com/?verify=yes"),
    "slack's double": receiver("slack", url="http://127.0.0.1:9/services"),
}


@pytest.mark.parametrize("case", FINE)
def test_what_others_cannot_reach_is_fine(case: str, tmp_path: Path) -> None:
    """No warning where nothing secret leaves the machine in the clear."""
    assert warned(FINE[case], tmp_path) == []


@given(
    host=st.one_of(
        st.ip_addresses(v=4).map(str),
        st.ip_addresses(v=6).map("[{}]".format),
        st.from_regex(r"[a-z]{1,8}(\.[a-z]{2,5}){0,2}", fullmatch=True),
    ),
    port=st.sampled_from(["", ":80"]),
)
def test_https_is_never_cleartext(host: str, port: str) -> None:
    """Only http is, and only to a host that is not this one."""
    assert not is_cleartext(f"https://{host}{port}/x")
    local = host == "[::1]" or host.startswith("127.") or host == "localhost"
    if "ffff" not in host:
        assert is_cleartext(f"http://{host}{port}/x") is not local


def test_url_in_a_file_is_told_by_its_key(tmp_path: Path) -> None:
    """The key is the one that was given."""
    file = tmp_path / "url"
    file.write_text(f"{FAR}/s3cret")
    file.chmod(0o600)
    values = receiver("slack", url_file=str(file)) | {"heartbeat": {"url_file": str(file)}}
    told = [warning.split(":")[0] for warning in warned(values, tmp_path)]
    assert told == ["heartbeat.url_file", "receivers[0].url_file"]


@pytest.mark.parametrize(
    ("mode", "owner", "exposed"),
    [(0o600, 0, False), (0o640, 0, False), (0o644, 0, True), (0o400, 12345, False), (0o440, 12345, True)],
)
def test_key_file_that_others_read_is_told(mode: int, owner: int, exposed: bool, tmp_path: Path) -> None:
    """A group may read what root owns, as a service must get it; nobody else may read a key."""
    file = tmp_path / "acme"
    file.write_text("rg_live_1")
    file.chmod(mode)
    try:
        os.chown(file, owner, owner)
    except PermissionError:
        pytest.skip("needs root: give a file to another user")
    warnings = warned({"accounts": [{"name": "acme", "api_key_file": str(file)}]}, tmp_path)
    assert (warnings != []) is exposed
    assert all(
        each.startswith("accounts[0].api_key_file: ") and "chmod 600" in each and str(file) in each
        for each in warnings
    )


def test_secret_that_kubernetes_mounts_is_fine(tmp_path: Path) -> None:
    """The files of a volume may be read by all, and there is no one else in the container."""
    real = tmp_path / "..2026_03_01_12_00_00.123456789"
    real.mkdir()
    (real / "acme").write_text("rg_live_1")
    (real / "acme").chmod(0o644)
    (tmp_path / "..data").symlink_to(real.name)
    (tmp_path / "acme").symlink_to("..data/acme")
    assert warned({"accounts": [{"name": "acme", "api_key_file": str(tmp_path / "acme")}]}, tmp_path) == []


def test_config_file_with_secrets_is_told_where_others_get_at_it(tmp_path: Path) -> None:
    """A private folder protects what is in it; a secret of the environment is not in the file."""
    origins: dict[tuple[str, ...], str] = {("accounts",): "VOICELINK_API_KEY"}
    config = loaded({"accounts": ACCOUNTS}, tmp_path)
    file = tmp_path / "config.toml"
    file.chmod(0o644)
    open_to_all = Path("/").joinpath("etc", "os-release").resolve()
    told = exposed_in_file(config, open_to_all, {})
    assert told is not None
    assert told.startswith(f"accounts[0].api_key: other users of this machine may read {open_to_all}")
    assert exposed_in_file(config, open_to_all, origins) is None
    tmp_path.chmod(0o700)
    assert exposed_in_file(config, file, {}) is None
    without = load_config(None, {"VOICELINK_API_KEY_FILE": str(_key(tmp_path))})
    assert exposed_in_file(without, open_to_all, {}) is None


def _key(folder: Path) -> Path:
    file = folder / "key"
    file.write_text("rg_live_1")
    return file
