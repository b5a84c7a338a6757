"""The shipped Alertmanager as Compose starts it, before doubles of PagerDuty and Slack."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.integration.deploy.shipped import DEPLOY, read_yaml
from tests.servers.pagerduty import PATH, PagerDuty
from tests.servers.process import Process, free_port
from tests.servers.prometheus import Alertmanager
from tests.servers.require import require
from tests.servers.webhook import Answer, WebhookSink

PAGERDUTY_KEY = "0123456789abcdef0123456789abcdef"


class Channels:
    """PagerDuty and Slack; `pagerduty` and `slack` hold what each was told."""

    def __init__(self) -> None:
        self.pagerduty = PagerDuty(PAGERDUTY_KEY)
        self._pagerduty = WebhookSink(self.pagerduty)
        self._slack = WebhookSink(lambda _: Answer(body=b"ok"))

    async def __aenter__(self) -> "Channels":
        await self._pagerduty.open()
        await self._slack.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pagerduty.close()
        await self._slack.close()

    @property
    def secrets(self) -> dict[str, str]:
        """The secrets of both, by the names of their files."""
        return {"pagerduty": f"{PAGERDUTY_KEY}\n", "slack": f"{self._slack.url}/services/T0/B0/t0ken"}

    @property
    def pagerduty_url(self) -> str:
        """Where PagerDuty listens."""
        return self._pagerduty.url + PATH

    def posts(self) -> list[dict[str, Any]]:
        """Return Slack's messages, oldest first: `title` and `text`."""
        return [request.json()["attachments"][0] for request in self._slack.requests]

    def incidents(self) -> list[dict[str, Any]]:
        """Return what PagerDuty first heard of each incident, oldest first."""
        return [events[0]["payload"] for events in self.pagerduty.alerts.values()]

    def summaries(self) -> list[str]:
        """Return the titles under which PagerDuty showed incidents."""
        return [event["payload"]["summary"] for events in self.pagerduty.alerts.values() for event in events]

    def severities(self) -> set[str]:
        """Return the severities of all incidents."""
        return {event["severity"] for event in self.incidents()}


@dataclass(kw_only=True)
class ShippedAlertmanager(Alertmanager):
    """The shipped files and command of Compose, with BusyBox as in the image."""

    secrets_folder: Path

    @classmethod
    def copied(
        cls, folder: Path, channels: Channels, *, group_wait: str, group_interval: str
    ) -> "ShippedAlertmanager":
        """Return one that keeps its files in `folder`, not started and without secrets.

        What differs from what is shipped: where files and PagerDuty are, and how long it waits.
        """
        etc, secrets, tools, tmp = (folder / name for name in ("etc", "secrets", "bin", "tmp"))
        shutil.copytree(DEPLOY / "alertmanager", etc)
        for each in (secrets, tools, tmp):
            each.mkdir()
        config_file = etc / "alertmanager.yml"
        text = config_file.read_text().replace("/run/secrets", str(secrets))
        text = re.sub(r"group_wait: 15s", f"group_wait: {group_wait}", text)
        text = re.sub(r"group_interval: 1m", f"group_interval: {group_interval}", text)
        config_file.write_text(f"global: {{ pagerduty_url: '{channels.pagerduty_url}' }}\n{text}")
        _install_tools(tools)

        service = read_yaml(DEPLOY / "compose.yaml")["services"]["alertmanager"]
        [shell, script], port = service["entrypoint"], free_port()
        assert shell == "/bin/sh"
        url = f"http://127.0.0.1:{port}"
        return cls(
            argv=[
                *(tools / "sh", etc / Path(script).name),
                *(word.replace("=/alertmanager", f"={folder / 'data'}") for word in service["command"]),
                *(f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"),
            ],
            log_file=folder / "alertmanager.log",
            ready_url=f"{url}/-/ready",
            env={"PATH": str(tools), "TMPDIR": str(tmp)},
            cwd=folder,
            url=url,
            config_file=config_file,
            secrets_folder=secrets,
        )

    def give(self, secrets: Mapping[str, str | None]) -> None:
        """Write secrets, by the names of their files; None: no file."""
        for name, secret in secrets.items():
            file = self.secrets_folder / name
            if secret is None:
                file.unlink(missing_ok=True)
            else:
                file.write_text(secret)

    @property
    def made_config(self) -> Path:
        """What the start script made of the configuration."""
        assert self.env is not None
        return Path(self.env["TMPDIR"]) / "alertmanager.yml"

    async def post(self, *alerts: Mapping[str, Any]) -> None:
        """Post alerts, as Prometheus does."""
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            (await client.post(f"{self.url}/api/v2/alerts", json=alerts)).raise_for_status()

    async def failed(self) -> float:
        """Return how many notifications failed."""
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            text = (await client.get(f"{self.url}/metrics")).text
        counts = re.findall(r"^alertmanager_notifications_failed_total\{.*\} (\S+)$", text, re.MULTILINE)
        return sum(map(float, counts))


def _install_tools(folder: Path) -> None:
    """Fill a folder with BusyBox's commands, and an `alertmanager` that ends with whoever started it."""
    subprocess.run([require("busybox"), "--install", "-s", folder], check=True)
    real = require("prometheus-alertmanager", "alertmanager")
    wrapper = folder / "alertmanager"
    wrapper.write_text(f'#!/bin/sh\nexec {require("setpriv")} --pdeathsig KILL {real} "$@"\n')
    wrapper.chmod(0o755)


def unprivileged(process: Process) -> None:
    """Have a process not read what it may not, though the tests run as root."""
    if os.geteuid() == 0:
        process.argv = [require("setpriv"), "--bounding-set=-all", *process.argv]
