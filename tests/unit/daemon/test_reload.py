"""Which keys count from the next start only."""

from typing import Any

import pytest

from monitor.config import Config
from monitor.daemon.reload import changed_at_next_start

ACCOUNT = {"name": "a", "api_key": "rg_live_1"}
HASH = "$2b$04$" + "x" * 53


def config(**sections: Any) -> Config:
    """Return a config."""
    return Config.model_validate({"accounts": [ACCOUNT], **sections})


@pytest.mark.parametrize(
    ("sections", "keys"),
    [
        pytest.param({}, [], id="nothing"),
        pytest.param({"web": {"listen": "127.0.0.1:1"}}, ["web.listen"], id="listen"),
        pytest.param({"store": {"url": "sqlite:///other.db"}}, ["store.url"], id="store"),
        pytest.param({"store": {"retention": "1d"}}, [], id="retention"),
        pytest.param({"web": {"enable_lifecycle": True}}, [], id="lifecycle"),
        pytest.param({"web": {"basic_auth_users": {"ops": HASH}}}, [], id="users"),
    ],
)
def test_changed_at_next_start_names_what_a_reload_cannot_change(
    sections: dict[str, Any], keys: list[str]
) -> None:
    """The same again is no change, secrets included; users and permissions count at once."""
    assert changed_at_next_start(config(), config(**sections)) == keys
