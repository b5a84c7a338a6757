"""What else people would poll a provider with, set up for the same job as its documentation has it.

Beside blackbox_exporter and the script it takes a Prometheus, which is not counted: the probes are made here.
collectd only says what crosses a threshold.
"""

import asyncio
import json
import re
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import httpx

from tests.bench.setting import Fleet, config_text, until
from tests.bench.stored import RECEIVER
from tests.servers.process import answers
from tests.servers.require import find

_KEY = "rg_live_x"
_HEADERS = {"Authorization": f"Bearer {_KEY}", "Content-Type": "application/json"}
_LOOK_S = 0.1
_NEVER = re.compile(r"(?!)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a tool is to poll: each connection of `fleet` every `every_s`; `port` is free for it."""

    url: str
    fleet: Fleet
    every_s: int
    folder: Path
    port: int
    ca_file: Path | None

    @property
    def sync_url(self) -> str:
        """Where to POST."""
        return f"{self.url}/api/v2/voicelink/sync"

    def ids(self) -> dict[str, str]:
        """Return the ids of the connections by their names."""
        positions = range(self.fleet.connections)
        return {f"{self.fleet.name}-{each}": self.fleet.identity(each) for each in positions}

    def bodies(self) -> Iterator[tuple[str, str]]:
        """Yield the name of each connection, and the body to POST."""
        for name, identity in self.ids().items():
            yield name, json.dumps({"connection_id": identity, "import_dids": False})

    def file(self, name: str, text: str) -> Path:
        """Write a file of the tool's."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path


Seen = Callable[[str], None]
"""Told the name of a connection whose change shows."""


class Tells(StrEnum):
    """How a tool tells people."""

    NOTHING = "nothing"
    AS_SHOWN = "as shown"
    RECEIVER = "receiver"
    """By the provider's webhook."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """Something that polls.

    Args:
        prefix: Begins the ids of its connections.
        set_up: Writes its config and returns its command line.
        version: The command line that prints its version.
        less: What it does not do.
        shows: Matches a line of its output that says that a connection changed, with its name as group.
        watch: Sees changes where no output tells; may wait for the event, when CPU no longer counts.
        packages: Of Debian.
    """

    name: str
    prefix: str
    set_up: Callable[[Job], Sequence[str]]
    version: Sequence[str]
    less: str
    tells: Tells = Tells.NOTHING
    shows: re.Pattern[str] = _NEVER
    watch: Callable[[Job, Seen, asyncio.Event], Coroutine[Any, Any, None]] | None = None
    packages: str = ""

    @property
    def installed(self) -> bool:
        """Whether this machine has it."""
        return find(self.version[0]) is not None


def _monitor(job: Job) -> Sequence[str]:
    store, extra = f"sqlite:///{job.folder / 'monitor.db'}", RECEIVER.format(url=job.url, repeat="off")
    config = job.file("monitor.toml", config_text(job.url, (job.fleet,), store, extra))
    return [sys.executable, "-m", "monitor", "--config", str(config), "run"]


_COLLECTD = """
Hostname "bench"
FQDNLookup false
Interval {every_s}
BaseDir "{folder}"
PIDFile "{folder}/collectd.pid"
LoadPlugin logfile
LoadPlugin threshold
LoadPlugin curl_json
<Plugin logfile>
  File stdout
</Plugin>
<Plugin threshold>
  <Plugin "curl_json">
    <Type "gauge">
      WarningMax 0
    </Type>
  </Plugin>
</Plugin>
<Plugin curl_json>
{urls}
</Plugin>
"""
_COLLECTD_URL = """
  <URL "{url}">
    Instance "{name}"
    Post {body}
    Header "Authorization: Bearer {key}"
    Header "Content-Type: application/json"
    {authority}
    <Key "success">
      Type "bool"
    </Key>
    <Key "data/drift/*/did_id">
      Type "gauge"
    </Key>
  </URL>
"""


def _collectd(job: Job) -> Sequence[str]:
    authority = f'CACert "{job.ca_file}"' if job.ca_file else ""
    urls = [
        _COLLECTD_URL.format(
            url=job.sync_url, name=name, body=json.dumps(body), key=_KEY, authority=authority
        )
        for name, body in job.bodies()
    ]
    text = _COLLECTD.format(every_s=job.every_s, folder=job.folder, urls="".join(urls))
    return [str(find("collectd")), "-f", "-C", str(job.file("collectd.conf", text))]


def _blackbox(job: Job) -> Sequence[str]:
    modules = {}
    for name, body in job.bodies():
        asks = {"method": "POST", "headers": _HEADERS, "body": body}
        wants = {"fail_if_body_not_matches_regexp": [r'"drift": ?\[\]']}
        modules[name] = {"prober": "http", "http": {**asks, **wants}}
    config = job.file("blackbox.yml", json.dumps({"modules": modules}))
    return [
        "prometheus-blackbox-exporter",
        f"--config.file={config}",
        f"--web.listen-address=127.0.0.1:{job.port}",
    ]


async def _probe(job: Job, seen: Seen, _: asyncio.Event) -> None:
    """Probe as Prometheus does, each connection at a time of its own."""

    async def each(name: str, due_s: float) -> None:
        while True:
            await asyncio.sleep(due_s - time.monotonic())
            due_s += job.every_s
            probe = {"target": job.sync_url, "module": name}
            answer = await client.get(f"http://127.0.0.1:{job.port}/probe", params=probe)
            if "\nprobe_success 0\n" in answer.raise_for_status().text:
                seen(name)

    await until(lambda: answers(f"http://127.0.0.1:{job.port}/-/healthy"), "blackbox_exporter")
    began_s, apart_s = time.monotonic(), job.every_s / job.fleet.connections
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client, asyncio.TaskGroup() as group:
        for position, (name, _body) in enumerate(job.bodies()):
            group.create_task(each(name, began_s + position * apart_s))


def _urlwatch(job: Job) -> Sequence[str]:
    jobs = [
        {
            "name": name,
            "url": f"{job.sync_url}#{name}",  # it tells jobs apart by their URL
            "method": "POST",
            "data": body,
            "headers": _HEADERS,
            "filter": [{"re.sub": {"pattern": '(?s).*"drift":', "repl": ""}}],
        }
        for name, body in job.bodies()
    ]
    report = {"stdout": {"enabled": True, "color": False}, "text": {"details": True, "footer": False}}
    config = {"display": {"new": False, "error": True, "unchanged": False}, "report": report}
    options = {
        "urls": job.file("urls.yaml", "\n---\n".join(json.dumps(each) for each in jobs)),
        "config": job.file("urlwatch.yaml", json.dumps(config)),
        "hooks": job.file("hooks.py", ""),
        "cache": job.folder / "urlwatch.db",
    }
    run = f"urlwatch {' '.join(f'--{name} {path}' for name, path in options.items())}"
    return ["sh", "-c", f"while :; do {run} & sleep {job.every_s}; wait; done"]


def _script(job: Job) -> Sequence[str]:
    ids = job.file("ids.json", json.dumps(job.ids()))
    return [
        sys.executable,
        "-m",
        "tests.bench.script",
        job.sync_url,
        str(ids),
        str(job.every_s),
        str(job.port),
    ]


async def _scrape(job: Job, seen: Seen, may_look: asyncio.Event) -> None:
    await may_look.wait()
    broken = re.compile(r'numbers\{connection="(.*?)",state="ROUTING_MISSING"\} [1-9]')
    async with httpx.AsyncClient(trust_env=False) as client:
        while True:
            for name in broken.findall((await client.get(f"http://127.0.0.1:{job.port}/metrics")).text):
                seen(name)
            await asyncio.sleep(_LOOK_S)


TOOLS = (
    Tool(
        name="this monitor",
        prefix="da",
        set_up=_monitor,
        version=[sys.executable, "-m", "monitor", "--version"],
        less="",
        tells=Tells.RECEIVER,
        shows=re.compile(r'"event":"drift.appeared","connection":"(.*?)"'),
    ),
    Tool(
        name="script",
        prefix="5c",
        set_up=_script,
        version=[sys.executable, "-c", "import httpx; print(httpx.__version__)"],
        less="counts by state, nothing about numbers; keeps nothing; alerts are Prometheus's to raise",
        watch=_scrape,
    ),
    Tool(
        name="collectd",
        prefix="c0",
        set_up=_collectd,
        version=["collectd", "-h"],
        less="reads numbers and no texts, so no state and no issue; confirms and groups nothing",
        tells=Tells.AS_SHOWN,
        shows=re.compile(r"Notification: .*plugin_instance = (.*?), type = gauge"),
        packages="collectd-core libyajl2 libcurl3-gnutls",
    ),
    Tool(
        name="blackbox_exporter",
        prefix="b0",
        set_up=_blackbox,
        version=["prometheus-blackbox-exporter", "--version"],
        less="one bit a connection; alerts are Prometheus's to raise",
        watch=_probe,
        packages="prometheus-blackbox-exporter",
    ),
    Tool(
        name="urlwatch",
        prefix="aa",
        set_up=_urlwatch,
        version=["urlwatch", "--version"],
        less="a text diff of each connection, told once; no metrics; confirms and groups nothing",
        tells=Tells.AS_SHOWN,
        shows=re.compile(r"^CHANGED: (\S+)"),
        packages="urlwatch",
    ),
)
