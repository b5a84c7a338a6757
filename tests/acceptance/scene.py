"""What the acceptance tests play with: a provider that can be away, quick settings, received alerts."""

import base64
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

from standardwebhooks.webhooks import Webhook

from monitor.simulator import Simulator, World
from tests.acceptance.daemon import Daemon
from tests.servers.process import free_port, wait_until
from tests.servers.webhook import Received, WebhookSink

API_KEY = "rg_live_account_1"
WEBHOOK_SECRET = "whsec_" + base64.b64encode(b"a key of thirty-two bytes, about").decode()
SECRETS = (API_KEY, WEBHOOK_SECRET, WEBHOOK_SECRET.removeprefix("whsec_"), "p4th-t0ken", "h34der-t0ken")


class RunDaemon(Protocol):
    """Makes a daemon, not started."""

    def __call__(
        self,
        settings: dict[str, Any],
        folder: Path | None = None,
        open_files: int | None = None,
        redirect: str = "",
        env: Mapping[str, str] | None = None,
    ) -> Daemon:
        """Return it."""
        ...


class Provider:
    """The double of the API on one address; `down` closes it, `up` opens it there again."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.do = simulator.do
        self.url = ""
        self._port = free_port()
        self._stack = AsyncExitStack()

    async def up(self) -> None:
        """Listen."""
        self.url = await self._stack.enter_async_context(self.simulator.serve(port=self._port))

    async def down(self) -> None:
        """Refuse connections."""
        await self._stack.aclose()

    def keys(self, count: int, connection: int = 1) -> list[str]:
        """Return the first numbers of a connection."""
        return self.simulator.world.connection(f"conn-{connection:04d}").keys(count)


RunProvider = Callable[..., Awaitable[Provider]]
"""Serves a world."""


def settings(provider: Provider, *hooks: WebhookSink, **sections: Any) -> dict[str, Any]:
    """Return a config that is quick: seconds where users have minutes. `sections` add to its sections."""
    world: World = provider.simulator.world
    made: dict[str, Any] = {
        "instance": "acceptance",
        "api": {"base_url": provider.url, "timeout": "5s"},
        "schedule": {"interval": "1s", "recheck_interval": "100ms"},
        "drift": {"keep_firing_for": "0s"},
        "guard": {"ratio": 1.0},
        "alerts": {"update_interval": "2s"},
        "web": {"listen": "127.0.0.1:0"},
        "log": {"level": "debug"},
        "store": {"url": "sqlite:///store.db"},
        "accounts": [
            {
                "name": account.name,
                "api_key": account.key,
                "requests_per_minute": 6000,
                "connections": [{"name": each.name, "id": each.id} for each in account.connections],
            }
            for account in world.accounts
        ],
    }
    if hooks:
        made["receivers"] = [
            {
                "name": f"hook-{place}" if place else "hook",
                "type": "webhook",
                "url": f"{hook.url}/p4th-t0ken",
                "secret": WEBHOOK_SECRET,
                "headers": {"X-Token": "h34der-t0ken"},
                "timeout": "1s",
            }
            for place, hook in enumerate(hooks)
        ]
    for name, section in sections.items():
        made[name] = made[name] | section if isinstance(section, dict) and name in made else section
    return made


def event(received: Received) -> dict[str, Any]:
    """Return the CloudEvent of a request, its signature verified."""
    headers = {name: value for name, value in received.headers.items() if name.lower().startswith("webhook-")}
    Webhook(WEBHOOK_SECRET).verify(received.body, headers)
    read: dict[str, Any] = json.loads(received.body)
    return read


def stories(requests: Iterable[Received]) -> dict[str, list[dict[str, Any]]]:
    """Return the messages about each alert, in order; a message that came several times once.

    Raises:
        AssertionError: A message came with two bodies, or out of order.
    """
    bodies: dict[str, bytes] = {}
    told: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for request in requests:
        read = event(request)
        name = request.headers["webhook-id"]
        assert name == read["id"]
        assert bodies.setdefault(name, request.body) == request.body, "one id, two bodies"
        alert = read["data"]
        story = told[alert["alert_id"]]
        if not story or story[-1]["version"] != alert["version"]:
            assert not story or story[-1]["version"] < alert["version"], "a message was overtaken"
            story.append(alert)
    return dict(told)


def changes(story: Iterable[dict[str, Any]]) -> list[str]:
    """Return what each message of a story says happened."""
    return [alert["change"] for alert in story]


async def told_ends(sink: WebhookSink, count: int) -> list[list[dict[str, Any]]]:
    """Return the stories of all alerts once so many have ended, and no other is told of."""

    def ended() -> list[list[dict[str, Any]]]:
        found = list(stories(sink.requests).values())
        return found if sum(changes(story)[-1] == "resolved" for story in found) >= count else []

    found = await wait_until(ended, what=f"{count} alerts resolved")
    assert len(found) == count
    return found
