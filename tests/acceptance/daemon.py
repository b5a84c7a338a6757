"""The daemon as users run it: a process, its config file, its log, its page."""

import json
import os
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.servers.process import Process, wait_until
from tests.servers.require import require

Sample = tuple[str, frozenset[tuple[str, str]]]
"""A series: its name and its labels."""


class Daemon:
    """One daemon and its files; started again, it finds its store.

    Args:
        folder: Holds the config, the store and what it wrote.
        settings: Its config.
        open_files: Its limit on open files, soft and hard; None: the test run's own.
        redirect: Of its standard streams, as a shell writes it; the log is then not read here.
        env: Added to its environment.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        *,
        open_files: int | None = None,
        redirect: str = "",
        env: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.config_file = folder / "config.toml"
        self.page = ""
        self.shown: list[str] = []
        self.configure(settings)
        limited: list[str | Path] = (
            [require("prlimit"), f"--nofile={open_files}:{open_files}"] if open_files else []
        )
        redirected = ["sh", "-c", f'exec "$@" {redirect}', "sh"] if redirect else []
        self._process = Process(
            argv=[
                *limited,
                *redirected,
                *(sys.executable, "-m", "monitor", "--config", self.config_file, "run"),
            ],
            log_file=folder / "stdout.log",
            error_file=folder / "stderr.log",
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("VOICELINK_")},
                **(env or {}),
            },
            cwd=folder,
        )

    def configure(self, settings: Mapping[str, Any] | str) -> None:
        """Write its config, for its next start; text is written as it is."""
        self.config_file.write_text(settings if isinstance(settings, str) else to_toml(settings))

    @property
    def process(self) -> Process:
        """The process, for signals."""
        return self._process

    async def launch(self) -> None:
        """Start the process, and wait for nothing."""
        await self._process.start()

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        before = len(self.events("daemon.started"))
        await self.launch()
        await wait_until(lambda: self._started(before), what="daemon.started")
        self.page = self.events("daemon.started")[-1]["page"].rstrip("/")
        await wait_until(self.ready, what="readiness")

    def _started(self, before: int) -> bool:
        assert self._process.running, f"ended: {self.stderr[-2000:]} {self.output[-2000:]}"
        return len(self.events("daemon.started")) > before

    async def refused(self) -> str:
        """Start it, expect that it does not want to, and return what it says on stderr."""
        before = len(self.stderr)
        await self.launch()
        code = await self._process.wait()
        assert code == 2, f"exit {code}: {self.stderr}"
        return self.stderr[before:]

    async def ready(self) -> bool:
        """Return whether it says it is ready."""
        return (await self.get("/-/ready")).is_success

    async def stop(self) -> None:
        """Ask it to end, and see that it does so well."""
        assert await self._process.stop() == 0

    async def kill(self) -> None:
        """Take it away without a word."""
        await self._process.kill()

    @property
    def output(self) -> str:
        """All it has written to stdout."""
        return self._process.output

    @property
    def stderr(self) -> str:
        """All it has written to stderr."""
        file = self.folder / "stderr.log"
        return file.read_text() if file.exists() else ""

    def lines(self) -> list[dict[str, Any]]:
        """Return every whole line of its log."""
        return [json.loads(line) for line in self.output.splitlines(keepends=True) if line.endswith("\n")]

    def events(self, *names: str, **fields: Any) -> list[dict[str, Any]]:
        """Return the log lines of these events that have these fields."""
        return [line for line in self.lines() if line["event"] in names and fields.items() <= _hashable(line)]

    async def wait_for(self, *names: str, count: int = 1, **fields: Any) -> list[dict[str, Any]]:
        """Return these log lines once there are so many."""

        def found() -> list[dict[str, Any]]:
            lines = self.events(*names, **fields)
            return lines if len(lines) >= count else []

        return await wait_until(found, what=f"{count} x {names} {fields}")

    async def get(self, path: str) -> httpx.Response:
        """Return what its page answers."""
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            answer = await client.get(self.page + path)
        self.shown.append(answer.text)
        return answer

    async def metrics(self) -> dict[Sample, float]:
        """Return every series with its value."""
        text = (await self.get("/metrics")).text
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    async def gauges(self) -> dict[Sample, float]:
        """Return what it says of the last applied snapshots: what must outlive a restart."""
        kept = ("numbers", "inventory", "sync_warnings", "sync_last_success_timestamp_seconds")
        return {
            series: value
            for series, value in (await self.metrics()).items()
            if series[0].removeprefix("voicelink_").removeprefix("drift_").removeprefix("issue_") in kept
        }

    async def value(self, name: str, **labels: str) -> float | None:
        """Return one series' value, None if it is absent."""
        return (await self.metrics()).get((name, frozenset(labels.items())))

    async def until(self, name: str, value: float | None, **labels: str) -> None:
        """Wait until a series has a value; None: until it is absent."""

        async def reached() -> bool:
            return await self.value(name, **labels) == value

        await wait_until(reached, what=f"{name}{labels} == {value}")

    async def alerts(self) -> dict[str, float]:
        """Return how many alerts fire, by kind; kinds without any are left out."""
        firing: dict[str, float] = {}
        for (name, labels), value in (await self.metrics()).items():
            if name == "voicelink_alerts_firing" and value:
                kind = dict(labels)["kind"]
                firing[kind] = firing.get(kind, 0) + value
        return firing

    async def until_firing(self, alerts: Mapping[str, float]) -> None:
        """Wait until exactly these many alerts fire, by kind."""

        async def reached() -> bool:
            return await self.alerts() == alerts

        await wait_until(reached, what=f"firing: {alerts}")

    def check(self, secrets: Collection[str]) -> None:
        """See that it kept its word: lines of JSON on stdout, no mistakes of its own, no secret anywhere."""
        for line in self.lines():
            assert list(line)[:3] == ["timestamp", "level", "event"], line
            assert line["timestamp"].endswith("Z"), line
            assert line["event"] != "internal.error", line
            # Housekeeping that takes longer than its interval is skipped once, by design.
            assert "logger" not in line or "skipped" in line["event"], f"a library complains: {line}"
            assert "Schedule.tick" not in line["event"], line
        assert "Traceback" not in self.output + self.stderr, self.stderr
        for text in (self.output, self.stderr, *self.shown):
            for secret in secrets:
                assert secret not in text, f"a secret is shown: …{text[: text.find(secret)][-200:]}"


def _hashable(line: Mapping[str, Any]) -> Any:
    return {name: value for name, value in line.items() if not isinstance(value, (list, dict))}.items()


def to_toml(settings: Mapping[str, Any]) -> str:
    """Return settings as TOML: plain values, sections, and lists of tables."""
    plain = [f"{name} = {_inline(value)}" for name, value in settings.items() if not _is_table(value)]
    parts = ["\n".join(plain)]
    for name, value in settings.items():
        if isinstance(value, Mapping):
            parts.append(_table(f"[{name}]", value))
        elif _is_table(value):
            parts += [_table(f"[[{name}]]", row) for row in value]
    return "\n\n".join(parts) + "\n"


def _is_table(value: object) -> bool:
    rows = isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)
    return rows or isinstance(value, Mapping)


def _table(head: str, values: Mapping[str, Any]) -> str:
    return "\n".join([head, *(f"{name} = {_inline(value)}" for name, value in values.items())])


def _inline(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {_inline(each)}" for name, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return json.dumps(value)
