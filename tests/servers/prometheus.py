"""A real Prometheus and a real Alertmanager, each with its configuration, storage and port."""

import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.servers.process import Process, free_port
from tests.servers.require import require

Config = Mapping[str, Any] | str
"""As YAML text, or as values; JSON, which they are written as, is YAML."""


def _write(path: Path, config: Config) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(config if isinstance(config, str) else json.dumps(config))


def check(tool: str, *arguments: str | Path, text: str | None = None) -> str:
    """Run `promtool` or `amtool` and return what it said.

    Raises:
        AssertionError: It found something; carries what it said.
    """
    done = subprocess.run(
        [require(tool), *arguments],
        input=text,
        stdin=None if text is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{tool}: {done.stdout}"
    return done.stdout


async def _get(url: str, **params: str) -> Any:
    # Without loading the system's certificates, which takes longer than the answer.
    async with httpx.AsyncClient(timeout=60, trust_env=False, verify=False) as client:
        answer = await client.get(url, params=params)
        answer.raise_for_status()
        return answer.json()


async def _reload(url: str) -> None:
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        (await client.post(f"{url}/-/reload")).raise_for_status()


@dataclass(kw_only=True)
class Alertmanager(Process):
    """Alertmanager; started again, it finds its storage and listens on the same port."""

    url: str
    config_file: Path

    @classmethod
    def prepare(cls, folder: Path, config: Config) -> "Alertmanager":
        """Return one that keeps its files in `folder`, not started."""
        port, config_file = free_port(), folder / "alertmanager.yml"
        _write(config_file, config)
        argv: list[str | Path] = [
            require("prometheus-alertmanager", "alertmanager"),
            f"--config.file={config_file}",
            f"--storage.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
            "--log.level=warn",
        ]
        url = f"http://127.0.0.1:{port}"
        return cls(
            argv=argv,
            log_file=folder / "alertmanager.log",
            ready_url=f"{url}/-/ready",
            cwd=folder,
            url=url,
            config_file=config_file,
        )

    async def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts it holds as active, as `GET /api/v2/alerts` gives them."""
        alerts: list[dict[str, Any]] = await _get(f"{self.url}/api/v2/alerts")
        return alerts

    async def reload(self, config: Config) -> None:
        """Give it another configuration."""
        _write(self.config_file, config)
        await _reload(self.url)


@dataclass(kw_only=True)
class Prometheus(Process):
    """Prometheus; its configuration may name files beside it, such as rules, by relative path."""

    url: str
    folder: Path

    @classmethod
    def prepare(cls, folder: Path, config: Config, files: Mapping[str, Config] | None = None) -> "Prometheus":
        """Return one that keeps its files in `folder`, not started.

        A configuration as text that has it scrape itself at the usual port gets the real one.
        """
        port = free_port()
        if isinstance(config, str):
            config = config.replace("localhost:9090", f"127.0.0.1:{port}")
        _write(folder / "prometheus.yml", config)
        for name, content in (files or {}).items():
            _write(folder / name, content)
        argv: list[str | Path] = [
            require("prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--web.enable-lifecycle",
            "--log.level=warn",
        ]
        url = f"http://127.0.0.1:{port}"
        return cls(
            argv=argv,
            log_file=folder / "prometheus.log",
            ready_url=f"{url}/-/ready",
            cwd=folder,
            url=url,
            folder=folder,
        )

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the instant vector of an expression: `metric` and `value` of each series."""
        answer = await _get(f"{self.url}/api/v1/query", query=expression)
        vector: list[dict[str, Any]] = answer["data"]["result"]
        return vector

    async def query_range(self, expression: str) -> list[dict[str, Any]]:
        """Return the matrix of an expression over the last hour: `metric` and `values` of each series."""
        end = time.time()
        span = {"start": str(end - 3600), "end": str(end), "step": "60"}
        answer = await _get(f"{self.url}/api/v1/query_range", query=expression, **span)
        matrix: list[dict[str, Any]] = answer["data"]["result"]
        return matrix

    async def rules(self) -> list[dict[str, Any]]:
        """Return its rules, as `GET /api/v1/rules` gives them: `name`, `health`, `lastError`, `alerts` …."""
        answer = await _get(f"{self.url}/api/v1/rules")
        return [rule for group in answer["data"]["groups"] for rule in group["rules"]]

    async def alerts(self) -> list[dict[str, Any]]:
        """Return its pending and firing alerts."""
        answer = await _get(f"{self.url}/api/v1/alerts")
        alerts: list[dict[str, Any]] = answer["data"]["alerts"]
        return alerts

    async def reload(self, config: Config) -> None:
        """Give it another configuration."""
        _write(self.folder / "prometheus.yml", config)
        await _reload(self.url)
