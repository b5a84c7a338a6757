"""From the config to those who are told: the one place that knows every type of receiver."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import httpx

from monitor.clock import Clock
from monitor.config import (
    AlertmanagerReceiver,
    AppriseReceiver,
    Config,
    PagerDutyReceiver,
    SlackReceiver,
    WebhookReceiver,
)
from monitor.daemon.build import route_of, wording_of
from monitor.http.client import build_http
from monitor.notify.alertmanager import AlertmanagerReceiver as Alertmanager
from monitor.notify.alertmanager import Login, Parts, Terms
from monitor.notify.apprise import AppriseReceiver as Apprise
from monitor.notify.delivery import Receiver
from monitor.notify.log import LogReceiver
from monitor.notify.pagerduty import PagerDutyReceiver as PagerDuty
from monitor.notify.slack import SlackReceiver as Slack
from monitor.notify.webhook import WebhookReceiver as Webhook

MessageReceiver = WebhookReceiver | PagerDutyReceiver | SlackReceiver | AppriseReceiver
"""Those that take messages from the outbox."""

_CONNECTIONS = 32


class ReceiverSet:
    """The receivers of one config, with the HTTP clients that they send through.

    `receivers` take messages from the outbox; `alertmanagers` are kept level and get none.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock,
        log: LogReceiver,
        parts: Callable[[httpx.AsyncClient], Parts],
    ) -> None:
        self._clients: list[httpx.AsyncClient] = []
        self.receivers: list[Receiver] = [log]
        self.alertmanagers: list[Alertmanager] = []
        for receiver in config.receivers:
            if isinstance(receiver, AlertmanagerReceiver):
                self.alertmanagers.append(self._build_alertmanager(config, receiver, parts))
            else:
                self.receivers.append(self._build(receiver, clock))

    @property
    def names(self) -> list[str]:
        """The names of all of them."""
        levelled = [alertmanager.name for alertmanager in self.alertmanagers]
        return [*(receiver.name for receiver in self.receivers), *levelled]

    async def close(self) -> None:
        """Close every connection."""
        for client in self._clients:
            await client.aclose()

    def _build_alertmanager(
        self,
        config: Config,
        receiver: AlertmanagerReceiver,
        parts: Callable[[httpx.AsyncClient], Parts],
    ) -> Alertmanager:
        terms = Terms(
            route=route_of(receiver),
            wording=wording_of(config),
            resend_interval_s=receiver.resend_interval.total_seconds(),
            expire_after=receiver.expire_after,
            timeout_s=receiver.timeout.total_seconds(),
            alone=len(receiver.urls) == 1,
            login=_login(receiver),
        )
        return Alertmanager(receiver.name, urls=receiver.urls, terms=terms, parts=parts(self._http()))

    def _build(self, receiver: MessageReceiver, clock: Clock) -> Receiver:
        """Return a receiver of messages; a new type is one more case."""
        timeout_s = receiver.timeout.total_seconds()
        match receiver:
            case WebhookReceiver():
                return Webhook(
                    receiver.name,
                    receiver.url,
                    secret=receiver.signing,
                    headers=receiver.headers,
                    http=self._http(receiver.ca_file),
                    timeout_s=timeout_s,
                    clock=clock,
                )
            case PagerDutyReceiver():
                return PagerDuty(
                    receiver.name,
                    routing_key=receiver.secret,
                    url=receiver.url,
                    http=self._http(),
                    timeout_s=timeout_s,
                    clock=clock,
                )
            case SlackReceiver():
                return Slack(
                    receiver.name, url=receiver.secret, http=self._http(), timeout_s=timeout_s, clock=clock
                )
            case AppriseReceiver():
                return Apprise(receiver.name, url=receiver.secret, timeout_s=timeout_s)

    def _http(self, ca_file: Path | None = None) -> httpx.AsyncClient:
        http = build_http(ca_file=ca_file, max_connections=_CONNECTIONS)
        self._clients.append(http)
        return http


def repeat_intervals(config: Config) -> dict[str, timedelta]:
    """Return how often each receiver wants to be reminded of what still fires."""
    return {
        receiver.name: receiver.repeat_interval
        for receiver in config.receivers
        if receiver.repeat_interval is not None
    }


def _login(receiver: AlertmanagerReceiver) -> Login | None:
    if receiver.basic_auth is not None:
        return Login(username=receiver.basic_auth.username, secret=receiver.basic_auth.secret)
    if receiver.bearer is not None:
        return Login(secret=receiver.bearer, bearer=True)
    return None
