"""The systemd unit is valid, and hardened as far as the monitor allows."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from monitor.cli.catalog import CATALOG, PROGRAM
from monitor.config.settings import DATABASE_URL
from monitor.daemon.signals import STOP_S
from monitor.units import parse_duration
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
    """No directive is unknown to systemd; the commands are replaced, because they must exist."""
    copy = tmp_path / UNIT.name
    text = re.sub(r"^(ExecStart|ExecReload)=\S+", r"\1=/bin/true", UNIT.read_text(), flags=re.MULTILINE)
    copy.write_text(text)
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
    """Unless the config says another, the store is in the one folder that is not read-only."""
    text = UNIT.read_text()
    [folder] = re.findall(r"^StateDirectory=(\S+)", text, flags=re.MULTILINE)
    assert f"\nWorkingDirectory=/var/lib/{folder}\n" in text
    assert not DATABASE_URL.startswith("sqlite:////")
    assert "ProtectSystem=strict" in text
    assert "STORE__" not in text  # a variable would take precedence


def test_unit_hears_from_the_daemon() -> None:
    """Started when ready, killed when it hangs, no core dump with its secrets, stopped in its own time."""
    text = UNIT.read_text()
    given = dict(re.findall(r"^(Type|WatchdogSec|LimitCORE|TimeoutStopSec)=(\S+)$", text, flags=re.MULTILINE))
    assert (given["Type"], given["LimitCORE"]) == ("notify", "0")
    assert parse_duration(given["TimeoutStopSec"]).total_seconds() > STOP_S
    assert parse_duration(given["WatchdogSec"])


def test_unit_reloads_with_a_command_that_can_fail() -> None:
    """Its command is one of the program's, and waits for what the daemon says."""
    [program, *command] = re.findall(r"^ExecReload=(.+)$", UNIT.read_text(), flags=re.MULTILINE)[0].split()
    assert program.endswith(f"/{PROGRAM}")
    assert command == ["reload", "$MAINPID"]
    assert "reload" in {entry.name for entry in CATALOG}
