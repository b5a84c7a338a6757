"""From the config to the receivers: the one place that knows every type of receiver."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import httpx

from monitor.clock import Clock
from monitor.config import (
    AlertmanagerConfig,
    AppriseConfig,
    Config,
    PagerDutyConfig,
    SlackConfig,
    WebhookConfig,
)
from monitor.daemon.watchlist import route_of, wording_of
from monitor.errors import UnknownName, unknown_name
from monitor.http.client import Network
from monitor.notify.alertmanager import AlertmanagerReceiver, Login, PosterParts
from monitor.notify.apprise import AppriseReceiver
from monitor.notify.delivery import Receiver
from monitor.notify.log import LogReceiver
from monitor.notify.pagerduty import PagerDutyReceiver
from monitor.notify.slack import SlackReceiver
from monitor.notify.test_alert import ReceiverTest, send_test_alert
from monitor.notify.webhook import WebhookReceiver

MessageReceiverConfig = WebhookConfig | PagerDutyConfig | SlackConfig | AppriseConfig
"""Those that take messages from the outbox."""

_CONNECTIONS = 32


class ReceiverSet:
    """The receivers of one config, with the HTTP clients that they send through.

    `receivers` take messages from the outbox; `alertmanagers` are kept level and get none; `heartbeat` is the
    client that reaches the watchdog.
    """

    def __init__(
        self,
        config: Config,
        *,
        network: Network,
        clock: Clock,
        log: LogReceiver,
        parts: Callable[[httpx.AsyncClient], PosterParts],
    ) -> None:
        self._network = network
        self._wording = wording_of(config)
        self._tests: set[asyncio.Task[ReceiverTest]] = set()
        self._clients: list[httpx.AsyncClient] = []
        self.heartbeat = self._http(config.heartbeat.ca_file)
        self.receivers: list[Receiver] = [log]
        self.alertmanagers: list[AlertmanagerReceiver] = []
        for receiver in config.receivers:
            if not isinstance(receiver, AlertmanagerConfig):
                self.receivers.append(self._build(receiver, clock))
                continue
            self.alertmanagers.append(
                AlertmanagerReceiver(
                    urls=receiver.urls,
                    route=route_of(receiver),
                    wording=self._wording,
                    resend_interval_s=receiver.resend_interval.total_seconds(),
                    expire_after=receiver.expire_after,
                    timeout_s=receiver.timeout.total_seconds(),
                    login=_login(receiver),
                    parts=parts(self._http(receiver.ca_file)),
                )
            )

    @property
    def names(self) -> list[str]:
        """The names of all of them."""
        levelled = [alertmanager.name for alertmanager in self.alertmanagers]
        return [*(receiver.name for receiver in self.receivers), *levelled]

    async def test(self, name: str, now: datetime) -> ReceiverTest:
        """Send a test alert to a receiver, and return how it took it.

        Raises:
            UnknownName: There is no such receiver.
        """
        every: list[Receiver | AlertmanagerReceiver] = [*self.receivers, *self.alertmanagers]
        named = {receiver.name: receiver for receiver in every}
        if name not in named:
            raise UnknownName(unknown_name("receiver", name, named))
        test = asyncio.create_task(send_test_alert(named[name], self._wording, now), name=f"test {name}")
        self._tests.add(test)
        test.add_done_callback(self._tests.discard)
        return await test

    async def close(self) -> None:
        """Close every connection, once the tests that are under way have ended."""
        if self._tests:
            await asyncio.wait(self._tests)
        for client in self._clients:
            await client.aclose()

    def _build(self, receiver: MessageReceiverConfig, clock: Clock) -> Receiver:
        """Return a receiver of messages; a new type is one more case."""
        timeout_s = receiver.timeout.total_seconds()
        match receiver:
            case WebhookConfig():
                return WebhookReceiver(
                    receiver.name,
                    receiver.address,
                    secrets=receiver.signing,
                    headers=receiver.headers,
                    http=self._http(receiver.ca_file),
                    redactor=self._network.redactor,
                    timeout_s=timeout_s,
                    clock=clock,
                )
            case PagerDutyConfig():
                return PagerDutyReceiver(
                    receiver.name,
                    routing_key=receiver.secret,
                    url=receiver.url,
                    http=self._http(receiver.ca_file),
                    redactor=self._network.redactor,
                    timeout_s=timeout_s,
                    clock=clock,
                )
            case SlackConfig():
                return SlackReceiver(
                    receiver.name,
                    url=receiver.secret,
                    http=self._http(receiver.ca_file),
                    redactor=self._network.redactor,
                    timeout_s=timeout_s,
                    clock=clock,
                )
            case AppriseConfig():
                return AppriseReceiver(
                    receiver.name,
                    url=receiver.secret,
                    network=self._network,
                    ca_file=receiver.ca_file,
                    timeout_s=timeout_s,
                )

    def _http(self, ca_file: Path | None) -> httpx.AsyncClient:
        http = self._network.client(ca_file=ca_file, max_connections=_CONNECTIONS)
        self._clients.append(http)
        return http


def _login(receiver: AlertmanagerConfig) -> Login | None:
    if receiver.basic_auth is not None:
        return Login(username=receiver.basic_auth.username, secret=receiver.basic_auth.secret)
    if receiver.bearer is not None:
        return Login(secret=receiver.bearer, bearer=True)
    return None
