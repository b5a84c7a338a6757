"""The systemd unit is valid, and hardened as far as the monitor allows."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.integration.deploy.shipped import DEPLOY
from tests.servers.require import find

UNIT = DEPLOY / "systemd" / "voicelink-monitor.service"


def _analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    systemd_analyze = find("systemd-analyze")
    if systemd_analyze is None:
        # Containers often lack it, and to install systemd into one for a linter would be too much; in CI too.
        pytest.skip("needs systemd-analyze, which comes with systemd")
    return subprocess.run(
        [systemd_analyze, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_COLORS": "0"},
    )


def test_unit_is_understood(tmp_path: Path) -> None:
    """No directive is unknown to systemd; the command is replaced, because it must exist."""
    copy = tmp_path / UNIT.name
    copy.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(), flags=re.MULTILINE))
    done = _analyze("verify", "--man=no", copy)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_unit_is_hardened() -> None:
    """Its exposure, as systemd scores it from 0 to 10, stays below 1.5."""
    done = _analyze("security", "--offline=true", "--no-pager", "--threshold=15", UNIT)
    assert done.returncode == 0, done.stdout[-200:]


def test_unit_keeps_secrets_out_of_its_environment() -> None:
    """Keys are passed as credentials, not in the environment, which any user can read."""
    text = UNIT.read_text()
    assert not re.findall(r"^Environment(?:File)?=.*(?:KEY|TOKEN|SECRET|PASSWORD)", text, flags=re.MULTILINE)
    [credential] = re.findall(r"^LoadCredential=([\w-]+):", text, flags=re.MULTILINE)
    assert f'api_key_file = "/run/credentials/{UNIT.name}/{credential}"' in text


def test_unit_stores_where_it_may_write() -> None:
    """The store is in the state directory, the one place that is not read-only."""
    text = UNIT.read_text()
    [folder] = re.findall(r"^StateDirectory=(\S+)", text, flags=re.MULTILINE)
    assert f"VOICELINK_MONITOR_STORE__URL=sqlite:////var/lib/{folder}/" in text
    assert "ProtectSystem=strict" in text
